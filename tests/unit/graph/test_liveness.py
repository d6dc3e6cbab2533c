import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cost import rules as _rules
from trimtab.cost.work import total_work
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture
from trimtab.graph.liveness import cuts, live_sets, peak_activation
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import Graph, Input, Node, Ref, TensorType, refs_in

assert _rules

ONE_ARGUMENT = Tree(
    kind="tuple", children=(Tree(kind="tuple", children=(LEAF,)), Tree(kind="dict"))
)


@st.composite
def graphs(draw):
    """Graphs whose nodes read any values before them, of any size."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    names = ["x"]
    nodes = []
    for index, size in enumerate(sizes):
        read = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        nodes.append(
            Node(
                name=f"n{index}",
                op="aten.cat.default",
                arguments=FrozenDict({"tensors": tuple(map(Ref, read))}),
                outputs=(TensorType((size,), "float32"),),
            )
        )
        names.append(f"n{index}")
    outputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))
    return Graph(
        name="g",
        inputs=(Input(name="x", type=TensorType((3,), "float32")),),
        constants=(),
        nodes=tuple(nodes),
        outputs=tuple(map(Ref, outputs)),
        input_tree=ONE_ARGUMENT,
        output_tree=Tree(kind="tuple", children=(LEAF,) * len(outputs)),
    )


def naive_live(graph, position):
    """What is made before a position and read from it on, by the definition."""
    made = {Ref("x"), *(Ref(node.name) for node in graph.nodes[:position])}
    read = {ref for node in graph.nodes[position:] for ref in node.inputs}
    read |= {ref for each in graph.outputs for ref in refs_in(each)}
    return made & read


@given(graphs())
def test_live_sets_are_what_the_definition_says(graph):
    for position, live in enumerate(live_sets(graph)):
        assert set(live) == naive_live(graph, position)
        assert len(set(live)) == len(live)


@given(graphs())
def test_the_peak_is_the_largest_moment(graph):
    def size(refs):
        return sum(graph.type_of(ref).size_bytes for ref in refs)

    moments = [
        size(naive_live(graph, index) | {Ref(node.name)})
        for index, node in enumerate(graph.nodes)
    ]
    peak = peak_activation(graph)
    assert peak.size_bytes == max(moments)
    assert peak.size_bytes >= max(node.output.size_bytes for node in graph.nodes)
    assert moments[graph.position(peak.node)] == peak.size_bytes


@given(graphs())
def test_cuts_add_up_what_crosses(graph):
    found = cuts(graph)
    assert [cut.position for cut in found] == list(range(len(graph.nodes) + 1))
    for cut in found:
        assert cut.size_bytes == sum(
            graph.type_of(ref).size_bytes for ref in naive_live(graph, cut.position)
        )


def test_a_view_takes_no_memory_and_keeps_what_it_shows():
    net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.ReLU())
    graph = capture(net.eval(), (torch.zeros(1, 2, 3),))
    # Input and first result, then first result and second: 2 x 6 floats, not 3.
    assert peak_activation(graph).size_bytes == 2 * (2 * 3 * 4)


def test_weights_are_no_activations():
    graph = capture(torch.nn.Linear(100, 2).eval(), (torch.zeros(1, 100),))
    assert peak_activation(graph).size_bytes == (100 + 2) * 4


class Transposed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.t()


def test_views_of_weights_neither_cross_a_cut_nor_are_activations():
    graph = capture(Transposed().eval(), (torch.zeros(1, 3),))
    assert [node.op.split(".")[1] for node in graph.nodes] == ["t", "matmul"]
    assert [cut.size_bytes for cut in cuts(graph)] == [3 * 4, 3 * 4, 5 * 4]
    assert peak_activation(graph).size_bytes == (3 + 5) * 4
    assert total_work(graph).weight_bytes == 5 * 3 * 4
