import pickle

import pytest

from trimtab.errors import GraphError
from trimtab.frozen import FrozenDict
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import (
    Constant,
    ConstantKind,
    Graph,
    Input,
    Node,
    Ref,
    TensorType,
    Token,
    refs_in,
)

F32 = TensorType((2, 3), "float32")
ONE_ARGUMENT = Tree(
    kind="tuple", children=(Tree(kind="tuple", children=(LEAF,)), Tree(kind="dict"))
)


def relu(name, of, **parts):
    return Node(
        name=name,
        op="aten.relu.default",
        arguments=FrozenDict({"self": of}),
        outputs=(F32,),
        **parts,
    )


def graph_of(*nodes, constants=(), outputs=None):
    return Graph(
        name="g",
        inputs=(Input(name="x", type=F32),),
        constants=tuple(constants),
        nodes=nodes,
        outputs=outputs or (Ref(nodes[-1].name),),
        input_tree=ONE_ARGUMENT,
        output_tree=LEAF,
    )


def weight(name, target, shares=None, kind=ConstantKind.PARAMETER):
    return Constant(
        name=name, target=target, kind=kind, type=F32, shares=shares or target
    )


def test_sizes():
    assert TensorType((2, 3, 4), "int64").size_bytes == 2 * 3 * 4 * 8
    assert TensorType((), "bool").size_bytes == 1
    assert TensorType((0, 5), "float16").elements == 0


@pytest.mark.parametrize("bad", [((2,), "complex64"), ((-1,), "float32")])
def test_a_type_that_cannot_be(bad):
    with pytest.raises(GraphError, match="sizes are not negative"):
        TensorType(*bad)


def test_references_nest():
    argument = (Ref("a"), (1, (Ref("b", 2), None)), Token("dtype", "float32"))
    assert list(refs_in(argument)) == [Ref("a"), Ref("b", 2)]


def test_values_are_defined_before_they_are_used():
    with pytest.raises(GraphError, match="value %later: a value must be defined"):
        graph_of(relu("now", Ref("later")), relu("later", Ref("x")))
    with pytest.raises(GraphError, match=r"value %x\.1"):
        graph_of(relu("now", Ref("x", 1)))
    with pytest.raises(GraphError, match="the outputs"):
        graph_of(relu("now", Ref("x")), outputs=(Ref("then"),))
    with pytest.raises(GraphError, match="value %then"):
        graph_of(relu("now", Ref("x"), view_of=Ref("then")))


def test_names_are_unique():
    with pytest.raises(GraphError, match="name 'x': a name stands for one value"):
        graph_of(relu("x", Ref("x")))


def test_trees_and_leaves_agree():
    with pytest.raises(GraphError, match="2 outputs: their tree has 1 leaves"):
        graph_of(relu("y", Ref("x")), outputs=(Ref("y"), Ref("x")))


def test_tied_weights_count_once():
    graph = graph_of(
        relu("y", Ref("x")),
        constants=[
            weight("a", "a.weight"),
            weight("b", "b.weight", shares="a.weight"),
            weight("c", "running_mean", kind=ConstantKind.BUFFER),
        ],
    )
    assert graph.parameters == 2 * 3
    assert graph.weight_bytes == 2 * (2 * 3 * 4)
    assert [constant.name for constant in graph.tensors] == ["a", "c"]


def test_looking_up():
    graph = graph_of(
        relu("y", Ref("x")), relu("z", Ref("y")), constants=[weight("w", "w")]
    )
    assert graph.position("z") == 1
    assert graph.node("y").inputs == (Ref("x"),)
    assert graph.type_of(Ref("z")) == F32
    assert graph.constant(Ref("w")).target == "w"
    assert graph.constant(Ref("y")) is None
    with pytest.raises(GraphError, match="no node has that name"):
        graph.node("x")
    with pytest.raises(GraphError, match="unknown or no tensor"):
        graph.type_of(Ref("nosuch"))
    with pytest.raises(GraphError, match="unknown or no tensor"):
        graph.type_of(Ref("z", -1))


def test_a_node_without_tensors_has_no_output():
    node = Node(name="n", op="o", arguments=FrozenDict(), outputs=(None,))
    with pytest.raises(GraphError, match="it is no tensor"):
        _ = node.output


def test_graphs_travel_to_other_processes():
    graph = graph_of(relu("y", Ref("x")))
    assert pickle.loads(pickle.dumps(graph)) == graph
