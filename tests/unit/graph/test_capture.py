import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from trimtab.errors import CaptureError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import ConstantKind, Ref


def test_module_paths_types_and_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    graph = capture(net.eval(), (torch.zeros(1, 3),), name="mlp")
    assert graph.name == "mlp"
    assert [(node.module, node.module_type) for node in graph.nodes] == [
        ("0", "Linear"),
        ("1.0", "ReLU"),
        ("1.1", "Linear"),
    ]
    assert graph.parameters == 3 * 4 + 4 + 4 * 2 + 2
    assert [node.output.shape for node in graph.nodes] == [(1, 4), (1, 4), (1, 2)]


def test_arguments_stand_by_name_with_defaults():
    net = nn.Conv2d(2, 4, 3, stride=2, groups=2, bias=False)
    (node,) = capture(net.eval(), (torch.zeros(1, 2, 9, 9),)).nodes
    assert node.arguments["stride"] == (2, 2)
    assert node.arguments["padding"] == (0, 0)
    assert node.arguments["groups"] == 2
    assert "bias" not in node.arguments


def test_the_module_is_not_changed(case):
    module, args, kwargs = case
    before = {key: each.clone() for key, each in module.state_dict().items()}
    names = sorted(vars(module))
    copies = [each.clone() for each in args]
    capture(module, args, kwargs)
    for key, each in module.state_dict().items():
        assert torch.equal(each, before[key])
    assert sorted(vars(module)) == names
    assert not module.training
    assert all(torch.equal(a, b) for a, b in zip(args, copies, strict=True))


def test_nothing_in_a_graph_is_in_place(case):
    module, args, kwargs = case
    for node in capture(module, args, kwargs).nodes:
        _, name, _ = node.op.split(".")
        assert not name.endswith("_"), node.op


def test_tied_weights_are_one_parameter(networks):
    graph = capture(networks.Tied().eval(), (torch.zeros(1, 2, dtype=torch.int64),))
    assert graph.parameters == 7 * 4
    weights = weights_of(networks.Tied().eval(), graph)
    assert list(weights) == ["table.weight"]


def test_tensors_written_in_the_code_travel_inside(networks):
    graph = capture(networks.Constants().eval(), (torch.zeros(2, 2),))
    kinds = {constant.kind for constant in graph.constants}
    assert kinds == {ConstantKind.BUFFER, ConstantKind.TENSOR}
    (written,) = [c for c in graph.constants if c.kind is ConstantKind.TENSOR]
    assert written.data == torch.tensor([0.5, -0.5]).numpy().tobytes()


def test_views_say_what_they_show(networks):
    def function(x):
        y = x * 2
        return y.view(4).reshape(2, 2).t() + 1, nn.functional.dropout(y, 0.5, False)

    graph = capture(networks.Function(function).eval(), (torch.zeros(2, 2),))
    shown = {node.name: node.view_of for node in graph.nodes}
    assert shown["mul"] is None
    assert str(shown["view"]) == "%mul"
    assert str(shown["reshape"]) == "%view"
    assert str(shown["t"]) == "%reshape"
    assert str(shown["dropout"]) == "%mul"
    assert shown["add"] is None


def test_in_place_views_share_memory_and_in_place_sums_do_not(networks):
    def function(x):
        y = torch.relu(x)
        y.unsqueeze_(0)
        y.add_(1)
        return nn.functional.dropout(y, 0.5, training=False, inplace=True)

    graph = capture(networks.Function(function).eval(), (torch.zeros(2),))
    assert [(node.op.split(".")[1], node.view_of) for node in graph.nodes] == [
        ("relu", None),
        ("unsqueeze", Ref("relu")),
        ("add", None),
        ("dropout", Ref("add_")),
    ]


def test_a_copy_is_no_view(networks):
    def function(x):
        return x.t().contiguous().view(4)

    graph = capture(networks.Function(function).eval(), (torch.zeros(2, 2),))
    assert graph.node("contiguous").view_of is None


def test_training_mode_is_refused_with_the_module():
    dropout = nn.Dropout()
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(dropout)).eval()
    dropout.train()
    with pytest.raises(CaptureError, match=r"module '1\.0'.*\.eval\(\)"):
        capture(net, (torch.zeros(1, 2),))


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_data_dependent_control_flow_names_module_and_remedy(capfd):
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Branch())).eval()
    with pytest.raises(CaptureError, match=r"module '1\.0'") as caught:
        capture(net, (torch.zeros(1, 2),))
    assert "torch.where" in str(caught.value)
    assert "torch.cond" not in str(caught.value)  # its branches are nested graphs
    assert "depends on the values" in str(caught.value)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")  # export's own pages of output are kept back


def test_a_wrong_shape_names_the_module():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(3, 3))).eval()
    with pytest.raises(CaptureError, match=r"module '1\.0'"):
        capture(net, (torch.zeros(1, 2),))


def test_the_switch_of_attention_is_put_back():
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(CaptureError):
        capture(Branch().eval(), (torch.zeros(2),))
    capture(nn.ReLU().eval(), (torch.zeros(2),))
    assert torch.backends.mha.get_fastpath_enabled() is before


class Counter(nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls.add_(1)
        return x + self.calls


class HiddenCounter(Counter):
    def forward(self, x):
        self.calls[0] += 1
        return x + self.calls


class CounterThroughView(Counter):
    def forward(self, x):
        self.calls.view(1).add_(1)  # nothing reads the buffer again
        return x * 2


class Recorder(Counter):
    def forward(self, x):
        self.calls[0] = x.sum()
        return x * 2


class NewCounter(Counter):
    def forward(self, x):
        self.calls = self.calls + 1
        return x * 2


@pytest.mark.parametrize(
    "kind", [Counter, HiddenCounter, CounterThroughView, Recorder, NewCounter]
)
def test_state_is_refused(kind):
    counter = kind()
    with pytest.raises(CaptureError, match=r"its own tensor '0\.calls'"):
        capture(nn.Sequential(counter).eval(), (torch.zeros(1),))
    assert counter.calls.item() == 0


def test_an_operator_outside_the_vocabulary_is_named(networks):
    net = nn.Sequential(networks.Function(torch.bernoulli)).eval()
    with pytest.raises(CaptureError, match=r"aten\.bernoulli.*random.*module '0'"):
        capture(net, (torch.zeros(2),))


def test_wrong_arguments():
    with pytest.raises(UsageError, match=r"only a torch\.nn\.Module"):
        capture(torch.relu, (torch.zeros(1),))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="come as a tuple"):
        capture(nn.ReLU().eval(), torch.zeros(1))  # type: ignore[arg-type]


def test_weights_of_another_network():
    graph = capture(nn.Linear(2, 2).eval(), (torch.zeros(1, 2),))
    with pytest.raises(UsageError, match=r"weight 'weight'.*shape \(3, 2\)"):
        weights_of(nn.Linear(2, 3).eval(), graph)


def test_a_network_on_the_meta_device():
    with torch.device("meta"):
        net = nn.LSTM(3, 4).eval()
        x = torch.zeros(5, 1, 3)
    graph = capture(net, (x,))
    assert graph.parameters == 4 * 4 * (3 + 4 + 2)


def test_dropout_that_is_always_on_is_refused(networks):
    def function(x):
        return nn.functional.dropout(x, 0.5, training=True)

    with pytest.raises(CaptureError, match="draws random numbers"):
        capture(networks.Function(function).eval(), (torch.zeros(2),))


def test_normalisation_by_the_batch_is_captured_unless_it_learns(networks):
    def function(x, mean=None, variance=None):
        return nn.functional.batch_norm(x, mean, variance, training=True)

    net = networks.Function(function).eval()
    x = torch.arange(6.0).reshape(2, 3)
    graph = capture(net, (x,))
    assert torch.equal(Executor(graph, {})(x), function(x))
    with pytest.raises(CaptureError, match="in training"):
        capture(net, (x, torch.zeros(3), torch.ones(3)))


def test_one_tensor_given_twice_is_two_inputs(networks):
    x = torch.zeros(2)
    graph = capture(networks.Function(torch.sub).eval(), (x, x))
    (node,) = graph.nodes
    assert [ref.name for ref in node.inputs] == [leaf.name for leaf in graph.inputs]


def test_many_threads_may_capture():
    def job(width):
        return capture(nn.Linear(width, 2).eval(), (torch.zeros(1, width),)).parameters

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(job, range(1, 9))) == [2 * w + 2 for w in range(1, 9)]
    assert logging.root.manager.disable == 0


def test_complex_numbers_are_refused_with_the_place(networks):
    with pytest.raises(CaptureError, match=r"complex64.*view_as_real"):
        capture(nn.Tanh().eval(), (torch.zeros(2, dtype=torch.complex64),))


class Moved(Counter):
    def forward(self, x):
        self.calls = self.calls.to(x.device).view(1)  # the same memory
        return x + self.calls


def test_a_buffer_that_is_assigned_to_itself_is_no_state():
    net = nn.Sequential(Moved()).eval()
    graph = capture(net, (torch.zeros(1),))
    executor = Executor(graph, weights_of(net, graph))
    assert executor(torch.tensor([3.0])).tolist() == [3]


def test_a_tensor_that_forward_makes_may_be_written(networks):
    def function(x):
        made = torch.tensor([1.0, 2.0])
        made.add_(x)
        return made * made

    graph = capture(networks.Function(function).eval(), (torch.zeros(2),))
    executor = Executor(graph, {})
    for _ in range(2):  # the second call starts from the written numbers again
        found = executor(torch.tensor([3.0, 4.0]))
        assert found.tolist() == [(1 + 3) ** 2, (2 + 4) ** 2]


def test_statistics_and_noise_inside_an_operator_are_refused(networks):
    def normalise(x):
        mean, variance = torch.zeros(3), torch.ones(3)
        return nn.functional.instance_norm(x, mean, variance, use_input_stats=True)

    with pytest.raises(CaptureError, match=r"instance_norm.*changes its own stat"):
        capture(networks.Function(normalise).eval(), (torch.zeros(2, 3, 4),))

    def attend(x):
        return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1)

    with pytest.raises(CaptureError, match=r"attention.*draws random numbers"):
        capture(networks.Function(attend).eval(), (torch.zeros(1, 1, 2, 2),))


def test_normalisation_without_statistics_is_captured():
    net = nn.InstanceNorm1d(3, affine=True).eval()
    graph = capture(net, (torch.zeros(2, 3, 4),))
    assert [node.op for node in graph.nodes] == ["aten.instance_norm.default"]
    assert graph.parameters == 3 + 3


def test_frozen_weights_are_known():
    net = nn.Linear(2, 2).eval()
    net.bias.requires_grad_(False)
    graph = capture(net, (torch.zeros(1, 2),))
    assert {each.target: each.frozen for each in graph.constants} == {
        "weight": False,
        "bias": True,
    }
    assert graph.parameters == 2 * 2 + 2  # frozen ones are parameters all the same


class Memo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last: torch.Tensor | None = None
        self.calls = 0

    def forward(self, x):
        y = x * 2
        self.last = y
        self.calls += 1
        return y + 1


def test_attributes_and_random_numbers_are_left_alone():
    net = Memo().eval()
    state = torch.get_rng_state()
    capture(net, (torch.zeros(2),))
    assert (net.last, net.calls) == (None, 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("write", [True, False])
def test_example_inputs_are_not_changed(networks, write):
    x = torch.ones(2)
    function = networks.input_in_place if write else torch.relu
    capture(networks.Function(function).eval(), (x,))
    assert x.tolist() == [1, 1]


class Remembers(nn.Module):
    """Reads what it left behind in the call before: state that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.t = torch.zeros(1)

    def forward(self, x):
        self.t = self.t + x
        return self.t * 2


class LeavesBehind(nn.Module):
    """Only writes: a map of attention that somebody may look at."""

    def __init__(self) -> None:
        super().__init__()
        self.t = torch.zeros(1)

    def forward(self, x):
        self.t = x * 2
        return self.t + 1


def test_state_in_a_plain_attribute_is_refused_where_it_is_read():
    net = Remembers()
    with pytest.raises(CaptureError, match=r"its own tensor '0\.t'"):
        capture(nn.Sequential(net).eval(), (torch.ones(1),))
    assert torch.equal(net.t, torch.zeros(1))
    graph = capture(nn.Sequential(LeavesBehind()).eval(), (torch.ones(1),))
    assert len(graph.nodes) == 2


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, ")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (torch.Tensor.to_sparse, "sparse_coo"),
        (torch.Tensor.to_mkldnn, "_mkldnn"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "quantized"),
    ],
)
def test_only_dense_inputs(make, kind):
    with pytest.raises(CaptureError, match=f"a {kind} tensor as an example input"):
        capture(nn.Linear(4, 4).eval(), (make(torch.eye(4)),))
