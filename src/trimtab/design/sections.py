"""What a design has to show in a report: fields, stages, findings, edits."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.bundle.section import Bars, Line, Section, Series, Table
from trimtab.design.edits import Remove, Repeat, Replace
from trimtab.design.explain import Finding
from trimtab.design.layers import Analysis
from trimtab.design.score import STAGE_EXPONENT, score
from trimtab.design.search import Result
from trimtab.design.values import Design

__all__ = ["edit_text", "field_section", "result_section"]


def edit_text(edit: Remove | Repeat | Replace) -> str:
    """Return an edit for people, without its modules.

    Example:
        >>> edit_text(Repeat(modules=("layer1.1",), times=2))
        'repeat 2x'
    """
    if isinstance(edit, Remove):
        return "leave out"
    if isinstance(edit, Repeat):
        return f"repeat {edit.times}x"
    text: str = edit.kernel
    if edit.groups > 1:
        text += f", {edit.groups} groups"
    if edit.overlap:
        text += f", overlap {edit.overlap:g}"
    if edit.size:
        text += f", {edit.size} x {edit.size}"
    if edit.dilation > 1:
        text += f" {edit.dilation}"
    return text


def field_section(analysis: Analysis, findings: Sequence[Finding]) -> Section:
    """Return what each convolution sees, how the stages stand, and what that tells.

    Args:
        analysis: of the network.
        findings: of the same, from `trimtab.design.explain.explain`.
    """
    found = score(analysis)
    weights = {size: mass**STAGE_EXPONENT for size, mass in found.masses.items()}
    total = sum(weights.values()) or 1.0
    image = "x".join(map(str, analysis.image))
    stages = list(weights)
    shares = [
        tuple(
            sum(getattr(each, name) for each in analysis.layers if each.size == size)
            / (sum(getattr(each, name) for each in analysis.layers) or 1)
            for size in stages
        )
        for name in ("parameters", "multiply_adds")
    ]
    return Section(
        name="design",
        title="Receptive fields",
        text=f"What an output of each convolution sees of {image} pixels and of the "
        "channels of its stage (a stage is a resolution). The widest path decides what "
        "can be seen, the narrowest what a further convolution adds. The score is "
        f"{found.value:.3f}: it compares networks for this image and is no accuracy.",
        figures=(
            _fields(analysis),
            Bars(
                title="Weight of the stages in the score",
                value_title="share",
                value_unit="frac",
                labels=tuple("x".join(map(str, size)) for size in stages),
                parts=(
                    (
                        "share of the score",
                        tuple(each / total for each in weights.values()),
                    ),
                ),
            ),
            Table(
                title="Stages",
                columns=("stage", "mass", "share of the score", "of the parameters",
                         "of the multiply-adds"),
                units=("", "", "frac", "frac", "frac"),
                rows=tuple(
                    ("x".join(map(str, size)), round(found.masses[size], 3),
                     weights[size] / total, parameters, adds)
                    for size, parameters, adds in zip(stages, *shares, strict=True)
                ),
            ),
            Table(
                title="Findings",
                columns=("code", "what", "edit", "parameters", "multiply-adds",
                         "latency", "score"),
                units=("", "", "", "count", "count", "s", ""),
                rows=tuple(
                    (each.code, each.sentence, each.edit, each.parameters,
                     each.multiply_adds, each.latency_s,
                     None if each.score is None else round(each.score, 3))
                    for each in findings
                ),
            ),
        ),
    )  # fmt: skip


def _fields(analysis: Analysis) -> Series:
    """Return the receptive fields against the image, convolution by convolution."""
    layers = analysis.layers
    x = tuple(float(index + 1) for index in range(len(layers)))
    labels = tuple(each.module or each.node for each in layers)
    lines: list[Line] = []
    square = analysis.image[0] == analysis.image[-1] and all(
        each.field_out[0] == each.field_out[-1] for each in layers
    )
    for axis, name in enumerate(("rows", "columns")[: len(analysis.image)]):
        if axis and square:
            break
        of = "" if square else f", {name}"
        lines += [
            Line(
                name=f"{path} path{of}",
                x=x,
                y=tuple(float(getattr(each, key)[axis]) for each in layers),
                mode="lines+markers",
                labels=labels,
            )
            for path, key in (("widest", "field_out"), ("narrowest", "least_out"))
        ]
        pixels = float(analysis.image[axis])
        lines.append(Line(name=f"image{of}", x=x, y=(pixels,) * len(x)))
    return Series(
        title="Receptive field against the image",
        x_title="convolution",
        y_title="pixels",
        lines=tuple(lines),
        y_scale="log",
    )


def result_section(result: Result) -> Section:
    """Return what the edits bought, and the designs that no other beats."""
    before, after = result.before, result.after
    return Section(
        name="design-edits",
        title="The design",
        text=f"{sum(map(len, result.edits))} edits; {result.judged} designs were "
        f"judged by analysis: {after.parameters / before.parameters:.2f} times the "
        f"parameters, {after.multiply_adds / before.multiply_adds:.2f} times the "
        f"multiply-adds, score {before.score:.3f} to {after.score:.3f}. None was "
        "trained; modules that an edit made have fresh weights.",
        figures=(
            Table(
                title="What each edit bought",
                columns=("edit", "modules", "score", "parameters", "multiply-adds",
                         "latency"),
                units=("", "", "", "count", "count", "s"),
                rows=tuple(
                    (
                        edit_text(each.edit),
                        each.edit.module
                        if isinstance(each.edit, Replace)
                        else " ".join(each.edit.modules),
                        round(each.values.score - each.before.score, 4),
                        each.values.parameters - each.before.parameters,
                        each.values.multiply_adds - each.before.multiply_adds,
                        each.values.latency_s - each.before.latency_s,
                    )
                    for each in result.steps
                ),
            ),
            Series(
                title="Designs within the limits that no other beats",
                x_title="parameters",
                x_unit="count",
                y_title="score",
                lines=(
                    _points("designs", result.pareto),
                    _points("given", [Design(edits=(), values=before)]),
                    _points("chosen", [Design(edits=result.edits, values=after)]),
                ),
            ),
        ),
    )  # fmt: skip


def _points(name: str, designs: Sequence[Design]) -> Line:
    return Line(
        name=name,
        x=tuple(float(each.values.parameters) for each in designs),
        y=tuple(each.values.score for each in designs),
        mode="markers",
        labels=tuple(f"{sum(map(len, each.edits))} edits" for each in designs),
    )
