import inspect
import json
import re
from multiprocessing.reduction import ForkingPickler

import pytest

from trimtab import errors
from trimtab.errors import BudgetInfeasibleError, TrimtabError

PUBLIC = [getattr(errors, name) for name in errors.__all__]
BY_NAME = pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)


def _classes() -> dict[str, type]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


def test_every_exception_is_public_and_the_list_is_sorted():
    assert errors.__all__ == sorted(_classes())


@BY_NAME
def test_every_exception_has_the_root(error):
    assert issubclass(error, TrimtabError)


@BY_NAME
def test_every_exception_but_the_root_is_also_a_builtin(error):
    builtins = {base for base in error.__mro__ if base.__module__ == "builtins"}
    assert error is TrimtabError or builtins > {Exception, BaseException, object}


def test_the_tree_in_the_docstring_lists_all_with_their_parents():
    line = re.compile(r"^ *((?:│   )*)(?:[├└]── )?(\w+)(?: \((\w+)\))?(?:  |$)")
    parents: list[str] = []
    tree = {}
    for text in (errors.__doc__ or "").splitlines():
        match = line.match(text)
        if match is None or not match[2].endswith("Error"):
            continue
        depth = 0 if "──" not in text else 1 + len(match[1]) // len("│   ")
        parents[depth:] = [match[2]]
        builtin = [match[3]] if match[3] else []
        tree[match[2]] = (*parents[max(0, depth - 1) : depth], *builtin)
    expected = {
        name: tuple(base.__name__ for base in each.__bases__)
        for name, each in _classes().items()
    }
    assert tree == expected | {"TrimtabError": ()}


@BY_NAME
def test_the_message_has_four_parts(error):
    raised = error(
        "`Budget(latency_s=...)` of -1.0",
        rule="it must be positive",
        where="plan.toml, table [budget]",
        remedy="give more than 0",
    )
    assert str(raised) == (
        "`Budget(latency_s=...)` of -1.0: it must be positive "
        "(plan.toml, table [budget]). Give more than 0."
    )


def test_rule_and_place_may_be_absent():
    assert str(TrimtabError("no input", remedy="give --input.")) == (
        "no input. Give --input."
    )


@BY_NAME
def test_the_parts_survive_json(error):
    raised = error("asked", rule="rule", where="where", remedy="remedy")
    assert json.loads(json.dumps(raised.to_dict())) == {
        "error": error.__name__,
        "asked": "asked",
        "rule": "rule",
        "where": "where",
        "remedy": "remedy",
    }


def test_an_infeasible_budget_carries_the_best_plan():
    raised = BudgetInfeasibleError(
        "latency 1.00 ms", remedy="raise it", best=("plan", 2), binding="latency_s"
    )
    assert raised.best == ("plan", 2)
    assert raised.binding == "latency_s"
    assert BudgetInfeasibleError("x", remedy="y").best is None


@BY_NAME
def test_errors_pass_between_processes(error):
    found = error("x", rule="r", where="w", remedy="y")
    again = ForkingPickler.loads(ForkingPickler.dumps(found))
    assert type(again) is error
    assert (str(again), again.to_dict()) == (str(found), found.to_dict())
    assert vars(again) == vars(found)
