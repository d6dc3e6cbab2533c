"""Fields against the support of gradients, and against figures worked out by hand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimtab.design import propagate as _propagate
from trimtab.design.propagate import image_of
from trimtab.errors import UsageError
from trimtab.graph.capture import capture
from trimtab.graph.types import Ref

fields_of: Any = _propagate.fields_of  # tests look into what it returns


class Net(nn.Module):
    """A module around a function of itself and its inputs."""

    def __init__(self, call, **modules):
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.call(self, *inputs)


def positive(module):
    """Make every path count: weights of one, and means instead of maxima."""
    for each in module.modules():
        for name, child in list(each.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(
                    each,
                    name,
                    nn.AvgPool2d(
                        child.kernel_size, child.stride, child.padding, child.ceil_mode
                    ),
                )
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.ones_(each.weight)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
    return module.double().eval()


def support(module, x, output):
    """Return which elements of the input one element of the output depends on."""
    x = x.double().requires_grad_()
    (gradient,) = torch.autograd.grad(module(x)[output], x)
    return gradient != 0


def require_support(module, shape, outputs=5):
    """Compare the field of some elements of the output with their gradients."""
    torch.manual_seed(0)
    module = positive(module)
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    graph = capture(module, (x,))
    fields = fields_of(graph)
    (result,) = graph.outputs
    field = fields.values[result]
    assert fields.unknown == ()
    size = field.shape
    generator = torch.Generator().manual_seed(1)
    for _ in range(outputs):
        index = tuple(
            int(torch.randint(each, (), generator=generator)) for each in size
        )
        seen = support(module, x, index)
        for number, placed in enumerate(field.axes):
            dim = 2 + number
            label = torch.from_numpy(placed.labels).expand(size)[index]
            first, last = placed.table.first[label], placed.table.last[label]
            others = tuple(each for each in range(x.ndim) if each != dim)
            (places,) = torch.nonzero(seen.any(others) if others else seen).unbind(1)
            if len(places) == 0:
                assert first > last
            else:
                assert (first, last) == (int(places.min()), int(places.max()))
        label = torch.from_numpy(field.channels.labels).expand(size)[index]
        if len(fields.before) == 0:
            bits = field.channels.table.bits[label]
            channels = torch.nonzero(seen.any(3).any(2)[0]).flatten().tolist()
            assert [c for c in range(shape[1]) if bits >> c & 1] == channels


def conv(inputs, outputs, kernel=3, **more):
    return nn.Conv2d(inputs, outputs, kernel, bias=False, **more)


def residual():
    return Net(
        lambda m, x: F.relu(m.a(x) + m.b(F.relu(m.c(x)))),
        a=conv(4, 6, 1), b=conv(8, 6, padding=1), c=conv(4, 8, padding=1),
    )  # fmt: skip


def shuffle(groups):
    def call(m, x):
        x = m.a(x)
        n, c, h, w = x.shape
        x = x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return m.b(x)

    return Net(
        call, a=conv(8, 8, 1, groups=groups), b=conv(8, 8, 3, groups=groups, padding=1)
    )


def branches():
    """Branches that see unlike much are joined, and grouped behind that."""
    return Net(
        lambda m, x: m.e(m.d(torch.cat([m.a(x), m.b(x), m.c(x)], 1))),
        a=conv(4, 4, 1), b=conv(4, 4, 3, padding=1), c=conv(4, 8, 5, padding=2),
        d=nn.MaxPool2d(3, 1, 1), e=conv(16, 8, 3, padding=1, groups=4),
    )  # fmt: skip


def parts():
    return Net(
        lambda m, x: torch.cat(
            [m.a(x.chunk(2, 1)[0]), x[:, 4:6], x[:, torch.tensor([7, 6])]], 1
        ),
        a=conv(4, 4, padding=1),
    )


def attention():
    """Every place of a window of four by four sees all of it."""

    def call(m, x):
        n, c, h, w = x.shape
        x = m.a(x).view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(n * (h // 4) * (w // 4), 16, c)
        x = F.scaled_dot_product_attention(x, x, x)
        x = x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(n, c, h, w)

    return Net(call, a=conv(4, 4, 1))


NETWORKS = {
    "one": lambda: conv(3, 4),
    "dilated": lambda: nn.Sequential(conv(3, 4, dilation=3, padding=2), conv(4, 4)),
    "one-sided": lambda: nn.Sequential(conv(3, 4, (1, 5), padding=(0, 2)), conv(4, 4)),
    "strides skip pixels": lambda: nn.Sequential(
        conv(3, 4, 1, stride=2), conv(4, 4, 3, padding=1), conv(4, 4, 1, stride=3)
    ),
    "residual": residual,
    "shuffle": lambda: shuffle(2),
    "depthwise": lambda: nn.Sequential(
        conv(4, 8, padding=1, groups=4), conv(8, 8, 1, groups=2)
    ),
    "pools": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, 1), conv(4, 4), nn.AvgPool2d(2, ceil_mode=True)
    ),
    "adaptive": lambda: nn.Sequential(conv(4, 4), nn.AdaptiveAvgPool2d((3, 4))),
    "global": lambda: nn.Sequential(conv(4, 4), nn.AdaptiveAvgPool2d(1), conv(4, 3, 1)),
    "mean": lambda: Net(lambda m, x: m.a(x).mean((2, 3)), a=conv(4, 4)),
    "transposed": lambda: nn.Sequential(
        conv(4, 4, stride=2),
        nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, bias=False),
    ),
    "transposed with gaps": lambda: nn.Sequential(
        nn.ConvTranspose2d(4, 4, 2, stride=3, bias=False), conv(4, 4)
    ),
    "upsampled": lambda: nn.Sequential(conv(4, 4), nn.Upsample(scale_factor=2)),
    "bilinear": lambda: nn.Sequential(
        conv(4, 4),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        conv(4, 4),
    ),
    "padded": lambda: Net(lambda m, x: m.a(F.pad(x, (1, 0, 2, 1))), a=conv(4, 4)),
    "reflected": lambda: nn.Sequential(nn.ReflectionPad2d(2), conv(4, 4)),
    "cropped": lambda: Net(lambda m, x: m.a(x)[:, :, 1:-2, 3:], a=conv(4, 4)),
    "flipped": lambda: Net(lambda m, x: m.a(m.a(x).flip(3)), a=conv(4, 4, padding=1)),
    "rolled": lambda: Net(lambda m, x: m.a(x).roll(2, 1), a=conv(4, 4, groups=2)),
    "branches": branches,
    "parts": parts,
    "pixels to channels": lambda: nn.Sequential(nn.PixelUnshuffle(2), conv(16, 8)),
    "channels to pixels": lambda: nn.Sequential(conv(4, 8), nn.PixelShuffle(2)),
    "per pixel": lambda: Net(
        lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        a=conv(4, 6, groups=2),
        b=nn.Linear(6, 5, bias=False),
    ),
    "flattened": lambda: Net(
        lambda m, x: m.b(torch.flatten(m.a(x), 1)),
        a=conv(4, 2),
        b=nn.Linear(2 * 10 * 8, 3, bias=False),
    ),
    "attention": attention,
    "called twice": lambda: Net(lambda m, x: m.a(m.a(x)), a=conv(4, 4, padding=1)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_field_is_the_support_of_a_gradient(name):
    module = NETWORKS[name]()
    first = next(
        (each for each in module.modules() if isinstance(each, nn.Conv2d)), None
    )
    channels = 4 if first is None else first.in_channels
    channels = {"parts": 8, "shuffle": 8, "pixels to channels": 4}.get(name, channels)
    channels = 4 if name == "transposed with gaps" else channels
    require_support(module, (1, channels, 12, 10 if name == "flattened" else 12))


def test_the_field_goes_on_beyond_the_image_and_the_support_does_not():
    net = nn.Sequential(*[conv(2, 2, padding=1) for _ in range(9)]).eval()
    graph = capture(net, (torch.zeros(1, 2, 8, 8),))
    (result,) = graph.outputs
    axis = fields_of(graph).values[result].axis(0)
    assert axis.size == 1 + 9 * 2
    assert (int(axis.first.min()), int(axis.last.max())) == (0, 7)


def test_the_narrowest_path_goes_through_shortcuts():
    net = Net(
        lambda m, x: m.c(x + m.b(m.a(x))),
        a=conv(4, 4, padding=1), b=conv(4, 4, padding=1), c=conv(4, 4, stride=2),
    )  # fmt: skip
    graph = capture(net.eval(), (torch.zeros(1, 4, 12, 12),))
    (result,) = graph.outputs
    axis = fields_of(graph).values[result].axis(1)
    assert (axis.size, axis.least, axis.jump) == (7, 3, 2)


def test_a_gate_scales_and_is_noted():
    net = Net(
        lambda m, x: m.b(m.a(x) * torch.sigmoid(m.c(m.a(x).mean((2, 3), True)))),
        a=conv(4, 4, padding=1), b=conv(4, 4, padding=1), c=conv(4, 4, 1),
    )  # fmt: skip
    graph = capture(net.eval(), (torch.zeros(1, 4, 12, 12),))
    (result,) = graph.outputs
    field = fields_of(graph).values[result]
    assert field.gated
    assert field.axis(0).size == 5


def test_a_new_resolution_begins_a_stage():
    net = nn.Sequential(conv(3, 8, padding=1), conv(8, 16, stride=2), conv(16, 16, 1))
    graph = capture(net.eval(), (torch.zeros(1, 3, 9, 9),))
    fields = fields_of(graph)
    first, second, third = (Ref(node.name) for node in graph.nodes)
    assert fields.values[first].channel_count == 3
    assert fields.before == {second: 3.0}  # of the three of the image's stage
    assert fields.values[second].channel_count == 1
    assert fields.values[third].channel_count == 16


def test_what_is_multiplied_by_nothing_sees_nothing():
    net = Net(
        lambda m, x: m.a(x) * 0 + m.b(x), a=conv(2, 2, 5, padding=2), b=conv(2, 2, 1)
    )
    graph = capture(net.eval(), (torch.zeros(1, 2, 8, 8),))
    (result,) = graph.outputs
    assert fields_of(graph).values[result].axis(0).size == 1


def test_an_operator_without_a_rule_is_named_and_sees_everything():
    net = Net(
        lambda m, x: torch.cumsum(m.a(x), 3) @ m.a(x).transpose(2, 3), a=conv(2, 2)
    )
    graph = capture(net.eval(), (torch.zeros(1, 2, 8, 8),))
    assert image_of(graph)[1] == (8, 8)
    unknown = Net(lambda m, x: torch.linalg.matrix_exp(m.a(x)), a=conv(2, 2))
    graph = capture(unknown.eval(), (torch.zeros(1, 2, 8, 8),))
    fields = fields_of(graph)
    (result,) = graph.outputs
    assert len(fields.unknown) == 1
    assert fields.values[result].axis(0).is_whole


def test_a_network_without_an_image_is_refused():
    graph = capture(nn.Linear(3, 3).eval(), (torch.zeros(1, 3),))
    with pytest.raises(UsageError, match="no input is a batch of images"):
        fields_of(graph)
