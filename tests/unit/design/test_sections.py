"""What a report shows of fields and edits."""

import pytest
from tests.unit.design.nets import IMAGE, plain, residual

from trimtab.bundle.section import Bars, Series, Table
from trimtab.design.analysis import analysis_of
from trimtab.design.edits import Remove, Repeat, Replace
from trimtab.design.explain import findings_of
from trimtab.design.search import Problem, optimize
from trimtab.design.sections import edit_text, field_section, result_section
from trimtab.hardware.load import machine


def section_of(model):
    analysis, graph = analysis_of(model, (IMAGE,))
    return analysis, field_section(analysis, findings_of(model, analysis, graph))


def test_fields_stand_against_the_image():
    analysis, section = section_of(residual())
    series, bars, stages, findings = section.figures
    assert isinstance(series, Series)
    widest, image, *_ = (
        next(line for line in series.lines if name in line.name)
        for name in ("widest", "image")
    )
    assert widest.y == tuple(float(each.field_out[0]) for each in analysis.layers)
    assert set(image.y) == {16.0}
    assert isinstance(bars, Bars)
    ((_, shares),) = bars.parts
    assert sum(shares) == pytest.approx(1)
    assert isinstance(stages, Table)
    assert isinstance(findings, Table)
    for column in (2, 3, 4):
        column_shares = [float(row[column] or 0) for row in stages.rows]
        assert sum(column_shares) == pytest.approx(1)


def test_rows_and_columns_that_differ_are_drawn_apart():
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, (1, 5)), nn.Conv2d(4, 4, (3, 1))).eval()
    analysis, graph = analysis_of(net, (torch.zeros(1, 3, 12, 16),))
    section = field_section(analysis, findings_of(net, analysis, graph))
    series = section.figures[0]
    assert isinstance(series, Series)
    assert [line.name for line in series.lines] == [
        "widest path, rows", "narrowest path, rows", "image, rows",
        "widest path, columns", "narrowest path, columns", "image, columns",
    ]  # fmt: skip


def test_what_edits_bought_is_listed_in_their_order():
    result = optimize(
        Problem(
            model=residual(2, 2, 2),
            inputs=(IMAGE,),
            machine=machine("milan"),
            limits={"parameters": "0.6x", "multiply_adds": "1x"},
        )
    )
    section = result_section(result)
    table, points = section.figures
    assert isinstance(table, Table)
    assert len(table.rows) == len(result.steps) > 0
    assert isinstance(points, Series)
    designs, given, chosen = points.lines
    assert len(designs.x) == len(result.pareto)
    assert given.x == (float(result.before.parameters),)
    assert chosen.y == (result.after.score,)
    assert "None was trained" in section.text


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (Remove(modules=("a",)), "leave out"),
        (Repeat(modules=("a",), times=2), "repeat 2x"),
        (
            Replace(module="a", kernel="depthwise-sliding", groups=4, overlap=0.5),
            "depthwise-sliding, 4 groups, overlap 0.5",
        ),
        (Replace(module="a", kernel="resized", size=5), "resized, 5 x 5"),
        (Replace(module="a", kernel="dilated", dilation=2), "dilated 2"),
    ],
)
def test_edits_in_words(edit, text):
    assert edit_text(edit) == text


def test_a_plain_network_has_one_line_a_path():
    _, section = section_of(plain())
    series = section.figures[0]
    assert isinstance(series, Series)
    assert len(series.lines) == 3
