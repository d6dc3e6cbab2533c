import pytest
import torch

from trimtab.cost import rules as _rules
from trimtab.cost.work import RULES
from trimtab.graph.operators import OPERATORS, Family, functional_form

assert _rules


def overload(op):
    _, name, kind = op.split(".")
    return getattr(getattr(torch.ops.aten, name), kind)


def test_every_operator_is_pytorchs_and_changes_nothing():
    for op in OPERATORS:
        assert not overload(op)._schema.is_mutable, op


def test_every_operator_has_a_work_rule_and_every_rule_an_operator():
    assert set(RULES) == set(OPERATORS)


def test_in_place_forms_lead_to_operators_with_the_same_arguments():
    found = 0
    for op in OPERATORS:
        _, name, _ = op.split(".")
        packet = getattr(torch.ops.aten, f"{name}_", None)
        for kind in packet.overloads() if packet is not None else ():
            functional = functional_form(f"aten.{name}_.{kind}")
            if functional is None:
                continue
            found += 1
            mine = overload(functional)._schema.arguments
            theirs = getattr(packet, kind)._schema.arguments
            assert [str(each.type) for each in mine] == [
                str(each.type) for each in theirs
            ], (functional, kind)
    assert found > 50


def test_what_has_no_functional_form():
    assert functional_form("aten.resize_.default") is None
    assert functional_form("aten.nosuch.default") is None
    assert functional_form("aten.relu.default") == "aten.relu.default"


def test_every_operator_has_a_meaning_of_one_line():
    for name, operator in OPERATORS.items():
        assert operator.name == name
        assert operator.meaning.strip() == operator.meaning != ""
        assert operator.family in Family


def test_every_in_place_form_of_pytorchs_is_renamed_to_the_same_function():
    """Not only those beside an operator of that name: & and ** have other names."""
    found = set()
    for name in dir(torch.ops.aten):
        if not name.endswith("_") or name in ("__module__", "__class__"):
            continue
        packet = getattr(torch.ops.aten, name)
        for kind in getattr(packet, "overloads", list)():
            functional = functional_form(f"aten.{name}.{kind}")
            if functional is None:
                continue
            found.add(functional)
            assert functional in OPERATORS
            mine = overload(functional)._schema
            theirs = getattr(packet, kind)._schema
            assert [str(each.type) for each in mine.arguments] == [
                str(each.type) for each in theirs.arguments
            ], (functional, name, kind)
            assert [each.kwarg_only for each in mine.arguments] == [
                each.kwarg_only for each in theirs.arguments
            ]
    assert {"aten.pow.Tensor_Scalar", "aten.add.Tensor", "aten.relu.default"} <= found


@pytest.mark.parametrize(
    ("sign", "op"),
    [("and", "bitwise_and"), ("or", "bitwise_or"), ("xor", "bitwise_xor")],
)
def test_what_python_calls_for_its_signs(sign, op):
    for name in (f"__{sign}__", f"__i{sign}__"):
        assert functional_form(f"aten.{name}.Tensor") == f"aten.{op}.Tensor"
        left = torch.tensor([0b1100, 0b1010])
        right = torch.tensor([0b1010, 0b0110])
        theirs = overload(f"aten.{name}.Tensor")(left.clone(), right)
        assert torch.equal(theirs, overload(f"aten.{op}.Tensor")(left, right))
