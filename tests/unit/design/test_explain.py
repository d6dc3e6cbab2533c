"""Each finding on the smallest network that has it."""

import pytest
import torch
from tests.unit.design.nets import IMAGE, residual
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.design.analysis import analysis_of
from trimtab.design.blocks import blocks_of
from trimtab.design.explain import CODES, explain
from trimtab.design.score import score
from trimtab.hardware.load import machine


def found(model, x=IMAGE, *, timed=False):
    analysis, graph = analysis_of(model.eval(), (x,))
    return explain(
        analysis,
        graph,
        groups=blocks_of(model, graph),
        latency_of=(
            lambda graph: Roofline().estimate(graph, machine("milan")).latency_s
        )
        if timed
        else None,
        dead=dict.fromkeys(analysis.dead, 7),
    )


def of(code, model, x=IMAGE, **more):
    return [each for each in found(model, x, **more) if each.code == code]


def row(count, kernel=3, width=4):
    layers = [nn.Conv2d(3, width, kernel, padding=kernel // 2)]
    layers += [
        nn.Conv2d(width, width, kernel, padding=kernel // 2) for _ in range(count - 1)
    ]
    return nn.Sequential(*layers)


def test_what_sees_everything_already():
    # Fields of 5, 9, 13, 17: the fifth window begins behind the image of 16.
    findings = of("RF01", row(6, 5), timed=True)
    assert [each.modules for each in findings] == [("4",), ("5",)]
    first = findings[0]
    assert first.numbers == {"field_px": 17.0, "image_px": 16.0}
    assert first.edit == "leave out block 4"
    assert first.parameters == -(4 * 4 * 25 + 4)
    assert first.multiply_adds == -4 * 4 * 25 * 256
    assert first.latency_s < 0
    assert "17 x 17 of 16 x 16 pixels" in first.sentence


def test_where_the_image_is_crossed():
    (finding,) = of("RF02", row(6, 5))
    assert finding.modules == ("3",)
    # From 13 to 17 pixels: three of four within the image of 16.
    assert finding.numbers["productive_frac"] == pytest.approx(0.75)


def test_a_field_that_stays_small():
    (finding,) = of("RF03", row(2))
    assert finding.numbers == {"field_px": 5.0, "image_px": 16.0}
    assert of("RF03", row(6, 5)) == []


def test_a_coarse_stem():
    coarse = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)
    )
    (finding,) = of("RF04", coarse)
    assert finding.numbers["jump_px"] == 4.0
    assert of("RF04", row(2)) == []


def test_channels_that_stay_apart():
    apart = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
    )
    (finding,) = of("CH01", apart)
    assert finding.modules == ("1", "2")
    assert finding.numbers == {"groups": 2.0, "channels": 4.0}
    assert len(of("CH03", apart)) == 1
    mixed = nn.Sequential(*apart, nn.Conv2d(8, 8, 1))
    assert of("CH03", mixed) == []
    assert of("CH01", nn.Sequential(apart[0], apart[1], nn.Conv2d(8, 8, 1))) == []


def test_a_dead_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used = nn.Conv2d(3, 4, 3)
            self.idle = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.used(x)

    (finding,) = of("CH02", Net())
    assert finding.modules == ("idle",)
    assert finding.parameters == -7


def test_stages_without_weight_or_blocks():
    net = residual(2, 2)
    assert {each.modules for each in of("ST02", net)} == set()
    assert {each.modules for each in of("ST02", row(1))} == {("0",)}
    thin = nn.Sequential(
        nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 64, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1),
    )  # fmt: skip
    assert len(of("ST01", thin)) == 2  # one with too little, one with too much


def test_a_gate():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, padding=1)
            self.b = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.a(x)
            return self.b(x * torch.sigmoid(x.mean((2, 3), keepdim=True)))

    (finding,) = of("SE01", Gate())
    assert finding.modules == ("b", "b")


def test_an_operator_without_a_rule():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return torch.linalg.matrix_exp(self.a(x))

    (finding,) = of("OP01", Odd())
    assert "matrix_exp" in finding.sentence


def test_branches_that_do_not_meet():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.b = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.a(x) + self.b(x)[:, :, :8, :8]

    assert len(of("AL01", Branches())) == 1


def test_every_code_has_a_name_and_nothing_is_said_twice():
    for finding in found(residual(2, 2)):
        assert finding.code in CODES
    sentences = [each.sentence for each in found(row(6, 5))]
    assert len(sentences) == len(set(sentences))


def test_the_critical_window_is_found_behind_pointwise_ones():
    layers = [nn.Conv2d(3, 4, 1), nn.ReLU()]
    for _ in range(9):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(4, 4, 1), nn.ReLU()]
    (finding,) = of("RF02", nn.Sequential(*layers))
    assert finding.numbers["field_in_px"] < 16 <= finding.numbers["field_out_px"]


def test_what_an_edit_changes_is_what_it_does_change():
    net = nn.Sequential(
        *[
            each
            for _ in range(12)
            for each in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        ]
    )
    first = of("RF01", net, timed=True)[0]
    before, _ = analysis_of(net.eval(), (IMAGE,))
    smaller = nn.Sequential(*net)
    if first.edit.startswith("leave out"):
        place = int(first.modules[0])
        smaller = nn.Sequential(*[*net][:place], *[*net][place + 2 :])
    after, _ = analysis_of(smaller.eval(), (IMAGE,))
    assert first.parameters == after.parameters - before.parameters
    assert first.multiply_adds == after.multiply_adds - before.multiply_adds
    assert first.score == pytest.approx(score(after).value - score(before).value)
    assert first.latency_s is not None
    assert first.latency_s < 0


def test_a_shortcut_at_the_end_of_a_stage_is_no_finding():
    assert of("CH03", residual(1, 1, 1)) == []
