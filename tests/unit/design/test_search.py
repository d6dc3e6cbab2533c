"""From a network to a better one, and back from its edits."""

import copy

import pytest
import torch
from tests.unit.design.nets import IMAGE, residual
from torch import nn

from trimtab.design import search as module
from trimtab.design.search import Problem, optimize, replay
from trimtab.design.values import Design
from trimtab.errors import BudgetInfeasibleError, UsageError
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine

MILAN = machine("milan")


def optimized(model, shares, **more):
    return optimize(
        Problem(model=model, inputs=(IMAGE,), machine=MILAN, limits=shares, **more)
    )


@pytest.mark.parametrize("level", ["stage", "kernel", "both"])
def test_a_network_sees_more_within_its_limits(level):
    model = residual(2, 2, 2)
    state = copy.deepcopy(model.state_dict())
    shares = {"parameters": 1.0, "multiply_adds": 1.0}
    result = optimized(model, shares, level=level, robust=level != "stage")
    assert all(each.fits for each in result.verdicts)
    assert result.after.score >= result.before.score
    assert (result.after.score > result.before.score) is (level == "stage")
    assert result.model(IMAGE).shape == model(IMAGE).shape
    assert not result.model.training
    # The given one is untouched, and what no edit touched has its weights.
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    made = result.model.state_dict()
    assert torch.equal(made["stem.0.weight"], state["stem.0.weight"])
    assert result.judged > 1


def test_half_the_parameters_at_equal_multiply_adds():
    result = optimized(residual(2, 2, 2), {"parameters": 0.5, "multiply_adds": 1.0})
    assert result.after.parameters <= 0.5 * result.before.parameters
    assert result.after.multiply_adds <= result.before.multiply_adds
    assert all(
        now >= was
        for now, was in zip(result.after.scores, result.before.scores, strict=True)
    )


def test_edits_can_be_replayed():
    model = residual(2, 2)
    result = optimized(model, {"parameters": 0.7})
    again = replay(model, result.edits)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, result.model.state_dict()[name]), name


def test_what_each_edit_bought_adds_up():
    result = optimized(residual(2, 2), {"parameters": 0.7})
    assert [each.edit for each in result.steps] == [
        edit for edits in result.edits for edit in edits
    ]
    assert result.steps[0].before == result.before
    last = result.steps[-1].values
    assert last.parameters == result.after.parameters
    assert last.multiply_adds == result.after.multiply_adds
    assert last.score == pytest.approx(result.after.score)


def test_searches_are_pure():
    one, two = (optimized(residual(2, 2), {"parameters": 0.8}) for _ in range(2))
    assert one.edits == two.edits
    assert one.pareto == two.pareto


def test_an_optimized_network_needs_no_edit():
    result = optimized(residual(2, 2), {"multiply_adds": 1.0}, level="stage")
    again = optimized(result.model, {"multiply_adds": 1.0}, level="stage")
    assert again.after.score == pytest.approx(again.before.score)


def test_a_limit_that_no_edit_meets_is_named_with_the_nearest_design():
    with pytest.raises(BudgetInfeasibleError) as caught:
        optimized(residual(2, 2), {"parameters": 0.01})
    error = caught.value
    assert error.binding == "parameters"
    assert isinstance(error.best, Design)
    assert error.best.values.parameters > 0
    assert "exceeds the limit" in str(error)


def test_robust_designs_lose_at_no_exponent_and_free_ones_may():
    model = residual(2, 2, 2)
    robust = optimized(model, {"multiply_adds": 1.2}, level="stage")
    assert all(
        now >= was - 1e-6
        for now, was in zip(robust.after.scores, robust.before.scores, strict=True)
    )
    free = optimized(model, {"parameters": 0.6}, level="stage", robust=False)
    assert free.after.parameters <= 0.6 * free.before.parameters


@pytest.mark.parametrize("robust", [True, False])
def test_no_design_has_more_layers_in_line_without_shortcuts(robust):
    def block(width):
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(block(8), block(8)),
        nn.Conv2d(8, 16, 3, 2, 1), nn.Sequential(block(16), block(16)),
    ).eval()  # fmt: skip
    found = optimized(model, {"multiply_adds": 3.0}, level="stage", robust=robust)
    assert found.before.shortest == 6
    assert found.after.shortest <= 6
    assert found.after.score >= found.before.score
    # A block that is added to its shortcut may be repeated.
    shares = {"multiply_adds": 3.0}
    deeper = optimized(residual(2, 2), shares, level="stage", robust=robust)
    assert deeper.after.multiply_adds > deeper.before.multiply_adds


def test_both_levels_may_share_what_must_be_saved(monkeypatch):
    seen = []
    real = module._Search.run

    def run(self, order, shared, progress):
        designs = real(self, order, shared, progress)
        seen.append((order, shared, self._half_way()))
        return designs

    monkeypatch.setattr(module._Search, "run", run)
    result = optimized(residual(2, 2), {"parameters": 0.64, "multiply_adds": 1.0})
    assert [each[:2] for each in seen] == [
        (("kernel", "stage"), False), (("kernel", "stage"), True),
        (("stage", "kernel"), False), (("stage", "kernel"), True),
    ]  # fmt: skip
    half = seen[0][2]
    assert half.parameters == pytest.approx(0.8 * result.before.parameters, rel=1e-3)
    assert half.multiply_adds == result.before.multiply_adds


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UsageError, match="no convolution of the image"):
        optimized(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).eval(), {})


def test_blocks_with_hooks_stay():
    model = residual(2, 3)
    model.stages[1][2].register_forward_hook(lambda *given: None)
    result = optimized(model, {"multiply_adds": 1.0}, level="stage", robust=False)
    touched = {
        path for edits in result.edits for edit in edits for path in edit.modules
    }
    assert "stages.1.2" not in touched


def test_the_next_best_is_taken_where_code_asks_for_its_blocks():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
                for _ in range(4)
            )

        def forward(self, x):
            x, seen = torch.relu(self.stem(x)), []
            for block in self.blocks:
                x = block(x)
                seen.append(x)
            return tuple(seen)

    model = Asks().eval()
    result = optimized(model, {"multiply_adds": 1.5}, level="both", robust=False)
    assert len(result.model(IMAGE)) == 4


def test_a_bundle_is_no_network_to_rewrite():
    from trimtab.graph.capture import weights_of
    from trimtab.graph.module import GraphModule

    model = residual(1, 1)
    graph = capture(model, (IMAGE,))
    with pytest.raises(UsageError, match="a bundle is a graph"):
        optimized(GraphModule(graph, weights_of(model, graph)), {})
