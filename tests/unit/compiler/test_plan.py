"""Whole small networks against PyTorch, and what their plans look like."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trimtab.compiler.tasks import Task, Value

R = torch.randn


def conv(inputs, outputs, size=3, **settings):
    return nn.Conv2d(inputs, outputs, size, **settings)


def same_size(inputs=8, outputs=8):
    return conv(inputs, outputs, padding=1)


def block(inputs, outputs, size=3, **settings):
    settings.setdefault("padding", size // 2)
    return nn.Sequential(
        conv(inputs, outputs, size, bias=False, **settings),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Growth(nn.Module):
    """A layer of DenseNet."""

    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, 16, 1, bias=False),
            nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, *pieces):
        return self.layers(torch.cat(pieces, 1))


# ---------------------------------------------------------------- networks

CASES: dict[str, Any] = {}


def case(*inputs, **parts):
    """Register a network: a function of a module and its inputs."""

    def register(function):
        CASES[function.__name__] = (function, inputs, parts)
        return function

    return register


X8 = R(1, 8, 6, 6)


@case(R(1, 16, 7, 7), a=block(16, 16), b=same_size(16, 16), n=nn.BatchNorm2d(16))
def residual(m, x):
    return F.relu(m.n(m.b(m.a(x))) + x)


@case(R(3, 16, 7, 7), a=block(16, 32, stride=2), b=same_size(32, 32),
      d=conv(16, 32, 1, stride=2))  # fmt: skip
def residual_with_stride_batch_of_three(m, x):
    return F.relu(m.b(m.a(x)) + m.d(x))


@case(R(1, 16, 6, 6), a=block(16, 32, 1), p=conv(32, 16, 1), s=conv(32, 8, 1),
      t=conv(8, 32, 1), d=nn.Sequential(
          same_size(32, 32), nn.BatchNorm2d(32), nn.SiLU()))  # fmt: skip
def inverted_residual_with_squeeze_and_excite(m, x):
    y = m.d(m.a(x))
    gate = torch.sigmoid(m.t(F.silu(m.s(F.adaptive_avg_pool2d(y, 1)))))
    return m.p(y * gate) + x


@case(R(1, 16, 6, 6), s=block(16, 16), a=Growth(16), b=Growth(24),
      n=nn.BatchNorm2d(32), t=conv(32, 8, 1))  # fmt: skip
def dense_block(m, x):
    x = m.s(x)
    y = m.a(x)
    z = m.b(x, y)
    return F.avg_pool2d(m.t(F.relu(m.n(torch.cat([x, y, z], 1)))), 2)


@case(R(1, 10, 5, 5), s=block(10, 10), a=block(10, 6), b=block(16, 6))
def dense_block_of_odd_channels(m, x):
    x = m.s(x)
    y = m.a(x)
    return torch.cat([x, y, m.b(torch.cat([x, y], 1))], 1)


@case(R(2, 16, 6, 6), i=block(16, 16, 1), o=block(16, 8, 1),
      d=conv(8, 8, padding=1, groups=8), a=block(8, 8, 1))  # fmt: skip
def channel_shuffle(m, x):
    x = m.i(x)
    for _ in range(2):
        a, b = x.chunk(2, 1)
        y = torch.cat([a, m.d(m.a(b))], 1)
        n, c, h, w = y.shape
        x = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    return m.o(x)


@case(R(1, 8, 5, 5), R(1, 8, 5, 5), a=same_size(), b=conv(8, 16))
def two_inputs_two_outputs(m, x, y):
    return m.a(x) + y, m.b(x * y)


@case(X8, a=conv(8, 8), k=R(3, 4))
def outputs_are_inputs_views_and_constants(m, x):
    return x, x.transpose(1, 2), x[:, 0], m.k, m.k.t(), m.k + 1, m.a(x)


@case(R(2, 8), a=nn.Linear(8, 8))
def one_tensor_returned_in_many_ways(m, x):
    y = m.a(x)
    return y, F.relu(y), y, y.view(-1), y[:, 2:4], y.clone()


@case(R(2, 8), a=nn.Linear(8, 8), b=nn.Linear(8, 8))
def outputs_are_used_inside(m, x):
    y = m.a(x)
    z = m.b(y)
    return y, z, y + z


@case(X8, a=conv(8, 8))
def nested_outputs(m, x):
    y = m.a(x)
    return {"a": [y, (x, y.mean())], "b": y.relu(), "c": None, "d": 3}


@case(R(2, 8), d=nn.Dropout())
def nothing_to_do(m, x):
    return m.d(x), x


@case(torch.randint(0, 10, (2, 5)), e=nn.Embedding(10, 8), a=nn.Linear(8, 6))
def whole_numbers_in(m, ids):
    return m.a(m.e(ids)).relu(), ids * 2, ids[:, 1:]


@case(torch.arange(6).view(2, 3), R(2, 3))
def dtypes_change(m, i, x):
    return (
        i.float() + 0.5,
        i.to(torch.float32),
        torch.cat([i, x], 1),
        (x > 0).float() * x,
    )


@case(R(3, 5, 7, 5), a=block(5, 7), b=block(7, 16), c=block(16, 9, 5))
def odd_sizes(m, x):
    return m.c(m.b(m.a(x)))


@case(R(3, 16, 1, 1), a=block(16, 32, 1), b=block(32, 16, 1))
def images_of_one_pixel(m, x):
    return m.b(m.a(x)).flatten(1)


@case(R(2, 1, 1, 9), a=same_size(1, 1), b=conv(1, 8, (1, 3)), c=conv(8, 1, 1))
def one_channel_and_one_row(m, x):
    return m.c(m.b(m.a(x)))


@case(R(2, 8), a=nn.Linear(8, 8))
def a_long_chain(m, x):
    for _ in range(12):
        x = F.relu(m.a(x)) + x
    return x


@case(X8, a=same_size(), b=same_size())
def diamonds(m, x):
    y = m.a(x)
    z = F.relu(y)
    return F.relu(z) * torch.sigmoid(y) + y, m.b(z) + y + z, y + y


@case(R(2, 5, 16), q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16),
      o=nn.Linear(16, 16), n=nn.LayerNorm(16))  # fmt: skip
def attention_by_hand(m, x):
    n, rows, width = x.shape
    q, k, v = (f(x).view(n, rows, 4, 4).transpose(1, 2) for f in (m.q, m.k, m.v))
    weights = torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1)
    return m.n(x + m.o((weights @ v).transpose(1, 2).reshape(n, rows, width)))


@case(R(1, 16, 5, 5), d=conv(16, 16, 7, padding=3, groups=16), n=nn.LayerNorm(16),
      u=nn.Linear(16, 24), v=nn.Linear(24, 16), g=R(16, 1, 1))  # fmt: skip
def channels_move_to_the_end_and_back(m, x):
    y = m.v(F.gelu(m.u(m.n(m.d(x).permute(0, 2, 3, 1)))))
    return x + m.g * y.permute(0, 3, 1, 2)


@case(R(2, 3, 8, 8), a=conv(3, 16, 4, stride=4), b=nn.Linear(16, 16), p=R(1, 4, 16),
      t=R(1, 1, 16))  # fmt: skip
def patches_with_a_token(m, x):
    y = m.a(x).flatten(2).transpose(1, 2)
    return m.b(torch.cat([m.t.expand(2, -1, -1), y + m.p], 1))[:, 0]


@case(R(1, 3, 8, 8), a=block(3, 8), b=block(8, 16), c=block(16, 8), o=conv(8, 2, 1),
      u=nn.ConvTranspose2d(16, 8, 2, stride=2))  # fmt: skip
def what_no_family_computes_in_the_middle(m, x):
    y = m.a(x)
    z = m.b(F.max_pool2d(y, 2))
    return m.o(m.c(torch.cat([y, m.u(z)], 1)))


@case(R(1, 12, 4, 5), a=block(12, 24, 1), b=conv(24, 40, padding=1, groups=2),
      c=conv(24, 40, 1), d=block(40, 8, 1))  # fmt: skip
def groups_that_begin_inside_a_vector(m, x):
    y = m.a(x)
    return m.d(F.relu(m.b(y) + m.c(y)))


@case(R(2, 24, 4, 5), a=block(24, 24, 1), b=conv(24, 48, padding=1, groups=3),
      c=conv(48, 16, 1, groups=8), d=conv(16, 32, padding=1, groups=16))  # fmt: skip
def groups_of_all_sizes(m, x):
    return m.d(torch.relu(m.c(m.b(m.a(x)))))


# ---- concatenations


@case(X8, a=same_size(), b=same_size())
def pieces_in_both_orders(m, x):
    y, z = m.a(x), m.b(x)
    return torch.cat([y, z], 1), torch.cat([z, y], 1)


@case(X8, a=same_size(), b=same_size())
def pieces_twice_and_alone(m, x):
    y, z = m.a(x), m.b(x)
    return torch.cat([y, y], 1), torch.cat([y, z], 1), torch.cat([z, z, z], 1), y


@case(X8, a=same_size(), b=same_size(), c=same_size())
def pieces_of_several_wholes(m, x):
    y, z, w = m.a(x), m.b(x), m.c(x)
    return (
        torch.cat([y, z], 1),
        torch.cat([z, w], 1),
        torch.cat([y, w], 1),
        torch.cat([y, z, w], 1),
    )


@case(X8, a=same_size())
def a_whole_in_a_whole(m, x):
    y = m.a(x)
    whole = torch.cat([y, m.a(y)], 1)
    w = m.a(whole[:, :8])
    return torch.cat([whole, w], 1), torch.cat([w, whole], 1)


@case(X8, a=same_size(), b=same_size(), c=conv(16, 8, 5, padding=2),
      d=conv(24, 8, 7, padding=3))  # fmt: skip
def a_prefix_with_a_wider_reader(m, x):
    y, z = m.a(x), m.b(x)
    prefix = torch.cat([y, z], 1)
    return m.d(torch.cat([y, z, m.c(prefix)], 1)), prefix


@case(X8, a=same_size(), b=same_size(8, 3), k=R(1, 8, 6, 6))
def pieces_of_all_kinds(m, x):
    y = m.a(x)
    return (
        torch.cat([x, y], 1),
        torch.cat([m.k, y], 1),
        torch.cat([m.b(x), y], 1),
        torch.cat([y, F.max_pool2d(y, 3, 1, 1)], 1),
        torch.cat([y, x], 2),
        torch.cat([x, y], 0),
    )


@case(R(2, 8, 4, 4), k=torch.empty(0), a=conv(8, 8, 1))
def pieces_of_nothing(m, x):
    y = m.a(x)
    return torch.cat([m.k, y], 1), torch.cat([y[:, :0], y, y[:, 3:3]], 1)


@case(R(2, 16, 1, 1), a=conv(16, 8, 1), b=conv(16, 8, 1), c=conv(16, 8, 1))
def pieces_of_one_pixel(m, x):
    y = torch.cat([m.a(x), m.b(x)], 1)
    return y, m.c(y).flatten(1), y.flatten(1)


@case(X8, a=same_size(), n=nn.GroupNorm(2, 8), c=conv(24, 8))
def pieces_that_are_rows(m, x):
    y = m.a(x)
    return m.c(torch.cat([m.n(y), torch.softmax(y, 1), y.mean(1, keepdim=True) + y], 1))


# ---- views


@case(X8, a=same_size(), b=same_size())
def views_of_packed_images(m, x):
    y = F.relu(m.a(x))
    return [
        m.b(each)
        for each in (
            y.transpose(2, 3), y.mT, y.flip(2), y.narrow(1, 0, 8), y.view_as(y),
            y.chunk(1, 1)[0], y.contiguous(memory_format=torch.channels_last),
        )
    ]  # fmt: skip


@case(R(1, 8, 8, 8), a=same_size(), b=same_size())
def views_that_keep_the_shape(m, x):
    y = F.relu(m.a(x))
    return m.b(y.transpose(1, 3)), m.b(y.permute(0, 2, 1, 3)), m.b(y.swapaxes(2, 3))


@case(R(1, 24, 5, 5), a=conv(24, 24, 1), b=same_size())
def slices_of_packed_images(m, x):
    p, q, r = torch.split(m.a(x), 8, 1)
    return m.b(p) + q, r, torch.cat([r, m.b(q), p], 1), p[:, :, ::2, 1:], q[:, 3]


@case(R(2, 5, 8), a=nn.Linear(8, 8))
def selections(m, x):
    y = m.a(x)
    return y[:, 0], m.a(x[:, -1]), x[0], y[:, -3:].relu(), y[..., None], y[[1, 0]]


@case(R(2, 1, 8), R(4, 8, 2), a=nn.Linear(8, 8))
def expansions(m, x, y):
    wide = x[:1].expand(4, 3, 8)
    return m.a(x).expand(2, 4, 8), m.a(wide), m.a(wide.transpose(0, 1)), wide @ y


@case(X8, k=R(8, 1, 1), w=torch.arange(6))
def constants_shown_as_inputs_are(m, x):
    return m.k.expand_as(x) + x, m.w.type_as(x) + x, m.k.type_as(x) * x


# ---- elementwise


@case(X8, R(1, 8, 1, 1), R(6), R(()), a=same_size())
def operands_are_broadcast(m, x, channel, row, number):
    y = m.a(x)
    return y * channel + channel, m.a(y) * row, number * m.a(x) + number


@case(R(1, 8, 1, 1), R(3, 8, 4, 4), a=conv(8, 8, 1))
def the_sum_is_broadcast(m, x, y):
    return m.a(x) * y, m.a(x) + y[:1]


@case(R(2, 8, 5, 5), a=conv(8, 8), d=nn.Dropout(), n=nn.BatchNorm2d(8),
      o=nn.BatchNorm2d(8, affine=False))  # fmt: skip
def batch_norms_in_a_row(m, x):
    return m.o(m.n(m.d(m.a(x)))), m.n(F.relu(m.a(x))), m.n(x)


@case(R(2, 8, 5, 5), a=same_size(), n=nn.BatchNorm2d(8))
def a_convolution_with_and_without_its_norm(m, x):
    y = m.a(x)
    return m.n(y), y, m.a(m.n(m.a(y)))


@case(R(0, 8), R(2, 0), a=nn.Linear(8, 4), b=nn.Linear(4, 3))
def nothing_in(m, x, y):
    return m.a(x), F.relu(m.a(x) + 1), x.sum(), m.b(torch.cat([y, y.new_ones(2, 4)], 1))


@pytest.mark.parametrize("name", sorted(CASES))
def test_networks_compute_what_pytorch_does(name, same, networks):
    function, inputs, parts = CASES[name]
    same(networks.Network(function, **parts), *inputs)


# ---------------------------------------------------------------- values that are none

NAN, INF = float("nan"), float("inf")
ODD = torch.tensor([[NAN, -1.0, 2.0, INF, -INF, 0.0, -0.0, 3.0, 1e30, -1e-30]])


def gelu(m, x):
    """Of a network PyTorch's; its values beside that by what it is defined as.

    PyTorch's own makes no number of an infinity where it has AVX-512.
    """
    return F.gelu(x) if m is not None else x * 0.5 * (1.0 + torch.erf(x * 0.5**0.5))


def odd_values(m, x, y):
    return (
        F.relu(x), F.relu6(x), F.hardtanh(x), x.clamp(-1, 1), x.clamp_min(0), -x,
        x.clamp_max(1), torch.maximum(x, y), torch.minimum(x, y), torch.maximum(y, x),
        F.silu(x), gelu(m, x), torch.sigmoid(x), torch.tanh(x), F.leaky_relu(x),
        x.abs(), F.elu(x), F.hardswish(x), F.hardsigmoid(x), x.square(), x.sqrt(),
        x.exp(), torch.softmax(x, 1), x.floor(), x.amax(1), x.amin(1), x.sum(1),
        1.0 / -x, x + INF, x.clamp(max=NAN), x * 0.0,
    )  # fmt: skip


def test_what_is_no_number_stays_none(same, networks) -> None:
    other = ODD.flip(1).contiguous()
    exact = odd_values(None, ODD, other)
    same(networks.Network(odd_values), ODD, other, exact=exact)


def test_a_number_beyond_float32_is_infinite(same, networks) -> None:
    x = torch.tensor([[1.0, -2.0]])
    exact = torch.tensor([[INF, -INF]])
    same(networks.Network(lambda m, x: x * 1e300), x, exact=exact)


def test_not_a_number_goes_through_images(same, networks) -> None:
    net = networks.Network(
        lambda m, x: (F.max_pool2d(F.relu(m.a(x)), 2), m.a(x).clamp(0, 6)),
        a=same_size(),
    )
    x = R(1, 8, 4, 4)
    x[0, 3, 0, 0] = NAN
    same(net, x)


# ---------------------------------------------------------------- plans


def works(made):
    return [each for each in made.plan.tasks if isinstance(each, Task)]


def test_values_stay_packed_between_convolutions(networks) -> None:
    function, inputs, parts = CASES["residual"]
    made = networks.planned(networks.Network(function, **parts), *inputs)
    into, first, second, out = works(made)
    assert made.kinds == ["Elementwise", "Contraction", "Contraction", "Elementwise"]
    assert into.parameters[0].memory.kind == "input"
    assert out.output.memory.kind == "output"
    assert first.output.layout.block == second.output.layout.block == 8
    # relu(norm(conv(...)) + x): one kernel, which reads x where the first one does.
    x = into.output.layout
    assert second.work.operands == (x.broadcast(x.shape),)
    assert into.output in second.parameters
    assert second.work.bias  # of the norm


def test_a_halo_holds_what_every_reader_needs(networks) -> None:
    net = networks.Network(
        lambda m, x: m.a(F.relu(m.p(x))) + m.b(F.relu(m.p(x))),
        p=conv(8, 8, 1),
        a=conv(8, 8, (5, 3), padding=(2, 1)),
        b=conv(8, 8, 3, padding=4, dilation=4, stride=2),
    )
    shared = networks.Network(
        lambda m, x: [f(y) for y in [F.relu(m.p(x))] for f in (m.a, m.b)],
        p=net.p, a=net.a, b=net.b,
    )  # fmt: skip
    made = networks.planned(shared, R(1, 8, 9, 9))
    middle = next(each for each in works(made) if "relu" in each.nodes)
    # The stride leaves out what lies below: (5 - 1) * 2 + 2 * 4 + 1 = 17 = 4 + 9 + 4.
    assert middle.output.layout.halo == (4, 4, 4, 4)
    readers = [each for each in works(made) if middle.output in each.parameters[:1]]
    assert len(readers) == 2


def test_pieces_are_written_in_place_as_long_as_they_can(networks) -> None:
    function, inputs, parts = CASES["dense_block"]
    made = networks.planned(networks.Network(function, **parts), *inputs)
    pieces = [
        each.output
        for each in works(made)
        if each.output.layout.size > each.output.layout.shape[1] * 6 * 6
        and each.output.layout.halo == (0, 0, 0, 0)
    ]
    # 16 + 8 + 8 channels in one memory of 32 * 6 * 6, no task that copies.
    assert [each.layout.shape[1] for each in pieces] == [16, 8, 8]
    assert len({each.memory.key for each in pieces}) == 1
    assert pieces[0].memory.elements == 32 * 6 * 6
    starts = [each.layout.offset for each in pieces]
    assert starts == [0, 16 * 6 * 6, 24 * 6 * 6]
    assert not any("cat" in each.nodes for each in works(made))


def test_one_piece_has_one_place(networks) -> None:
    function, inputs, parts = CASES["pieces_in_both_orders"]
    made = networks.planned(networks.Network(function, **parts), *inputs)
    copies = [each for each in works(made) if set(each.nodes) <= {"cat", "cat_1"}]
    assert len(copies) == 2 + 2  # two pieces into the other whole, two wholes out


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(4, 4, 6),
        lambda x: x.flatten(1),
        lambda x: x.transpose(1, 2),
        lambda x: x.chunk(2, 1)[1],
        lambda x: x[:, 2],
        lambda x: x[:, ::2, 1:3],
        lambda x: x[:, :1].expand(2, 8, 6),
        lambda x: x.unsqueeze(1),
        lambda x: x.permute(2, 0, 1),
    ],
)
def test_views_move_nothing(networks, view) -> None:
    net = networks.Network(lambda m, x: torch.tanh(view(x) + 1.0))
    made = networks.planned(net, R(2, 8, 6))
    (task,) = works(made)
    assert task.parameters[0].memory.kind == "input"
    assert task.work.operands[0].size == 2 * 8 * 6


def test_an_output_is_written_by_the_task_that_makes_it(networks) -> None:
    net = networks.Network(lambda m, x: m.a(x), a=nn.Linear(8, 4))
    (task,) = works(networks.planned(net, R(2, 8)))
    assert task.output.memory.kind == "output"
    net = networks.Network(lambda m, x: [m.a(x)] * 2, a=nn.Linear(8, 4))
    first, second = works(networks.planned(net, R(2, 8)))
    assert [first.output.memory.index, second.output.memory.index] == [0, 1]
    assert second.parameters[0] == first.output


def test_types_are_those_of_the_tensors(networks) -> None:
    net = networks.Network(lambda m, x, k, i: (x * k, None, i))
    made = networks.planned(net, R(2, 3), 4, torch.arange(3))
    assert [str(each) for each in made.plan.inputs] == ["float32[2,3]", "int64[3]"]
    assert [str(each) for each in made.plan.outputs] == ["float32[2,3]", "int64[3]"]


def test_nothing_is_computed_of_nothing(networks) -> None:
    net = networks.Network(lambda m, x: F.relu(m.a(x)), a=nn.Linear(8, 4))
    assert networks.planned(net, R(0, 8)).plan.tasks == ()


def test_every_value_is_written_before_it_is_read(networks) -> None:
    for function, inputs, parts in CASES.values():
        made = networks.planned(networks.Network(function, **parts), *inputs)
        written = set()
        for task in made.plan.tasks:
            if isinstance(task, Task):
                *reads, last = task.parameters
                writes = [last]
            else:
                reads, writes = [each for _, each in task.reads], task.writes
            for each in reads:
                if isinstance(each, Value) and 0 not in each.layout.shape:
                    memory = each.memory
                    assert memory.kind == "input" or memory.key in written
            written |= {each.memory.key for each in writes if isinstance(each, Value)}


def test_constants_of_two_batch_sizes_do_not_share_a_name(networks) -> None:
    def keys(batch):
        net = networks.Network(
            lambda m, x: (
                x.t() + m.k.expand(8, x.shape[0]),
                x * torch.tensor([float(x.shape[0])]),
                x * (m.w / x.shape[0]),
                x * m.w,
            ),
            k=torch.arange(8.0)[:, None],
            w=torch.arange(8.0),
        )
        made = networks.planned(net, R(batch, 8))
        return [each.parameters[1].key for each in works(made)]

    one, two = keys(2), keys(4)
    assert [a == b for a, b in zip(one, two, strict=True)] == [False] * 3 + [True]
