import torch

from trimtab.cost import rules as _rules
from trimtab.cost.work import RULES
from trimtab.graph.operators import OPERATORS, functional_form

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
