"""What a posterior over schemes has to show."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trimtab.bundle.section import Line, Section, Series, Table
from trimtab.symmetry.posterior import Posterior
from trimtab.symmetry.resampling import turned

__all__ = ["change_by_angle", "posterior_section"]

_STEP = 15  # degrees

COLUMNS = (
    ("scheme", "", "scheme"),
    ("log evidence, nats", "", "log_evidence_nats"),
    ("spread over starts", "", "spread_nats"),
    ("error", "", "error_nats"),
    ("exact", "", "exact"),
    ("posterior", "frac", "posterior"),
    ("held out, nats", "", "heldout_nats"),
    ("held-out accuracy", "frac", "heldout_accuracy_frac"),
    ("values", "count", "values"),
)
"""Heading, unit, key of `Posterior.table`."""


def posterior_section(
    posterior: Posterior, x: Tensor, *, ahead: nn.Module | None = None
) -> Section:
    """Return the table of schemes, and how predictions change with the angle.

    Args:
        posterior: of a fit.
        x: examples for the figure; none is drawn where they are no square images.
        ahead: layers between these and the networks of the fit, such as
            `trimtab.symmetry.polar_layers`.
    """
    rows = tuple(
        tuple(
            round(row[key], 3) if isinstance(row[key], float) and not unit else row[key]
            for _, unit, key in COLUMNS
        )
        for row in posterior.table()
    )
    table = Table(
        title="Schemes of weight sharing",
        columns=tuple(heading for heading, _, _ in COLUMNS),
        units=tuple(unit for _, unit, _ in COLUMNS),
        rows=rows,
    )
    found = Table(
        title="Invariances",
        columns=("element", "verdict", "probability", "nats", "why"),
        units=("", "", "frac", "", ""),
        rows=tuple(
            (each.element, each.verdict, each.probability, round(each.nats, 1),
             each.note)
            for each in posterior.findings()
        ),
    )  # fmt: skip
    figures: list[Table | Series] = [found, table]
    if len(x) and x.ndim == 4 and x.shape[2] == x.shape[3] > 1:
        figures.append(_figure(posterior, x, ahead or nn.Identity()))
    return Section(
        name="symmetry",
        title="Invariances learned",
        text=f"{posterior.verdict()}. Log evidence is estimated by "
        f"{posterior.way}; the posterior is tempered by its spread over starts, "
        f"{posterior.temperature:.1f} nats."
        + _on_early(posterior)
        + _on_bounds(posterior)
        + _on_gates(posterior),
        figures=tuple(figures),
    )


def change_by_angle(network: nn.Module, x: Tensor) -> list[tuple[float, float]]:
    """Return angles in degrees, and the share of predictions that each changes."""
    found = []
    with torch.no_grad():
        before = network(x).argmax(1)
        for angle in range(0, 361, _STEP):
            after = network(turned(x, float(angle))).argmax(1)
            found.append((float(angle), float((before != after).float().mean())))
    return found


def _figure(posterior: Posterior, x: Tensor, ahead: nn.Module) -> Series:
    lines = []
    shown = {posterior.best.scheme.name: posterior.best}
    shown.setdefault("none", posterior.judged[0])
    for name, each in shown.items():
        network = nn.Sequential(ahead, each.members[0].network).eval()
        points = change_by_angle(network, x)
        lines.append(
            Line(
                name=name,
                x=tuple(angle for angle, _ in points),
                y=tuple(share for _, share in points),
                mode="lines+markers",
            )
        )
    return Series(
        title="Predictions that change when an image is turned",
        x_title="angle (degrees)",
        y_title="share of examples",
        lines=tuple(lines),
    )


def _on_early(posterior: Posterior) -> str:
    if not any(each.given_up for each in posterior.judged):
        return ""
    return " Schemes that fell behind early were given up after a short training."


def _on_bounds(posterior: Posterior) -> str:
    exact = all(each.members[0].exact for each in posterior.judged)
    if exact or posterior.way != "laplace":
        return ""
    return (
        " Determinants are bounds from blocks of examples, which favours schemes that "
        "share little."
    )


def _on_gates(posterior: Posterior) -> str:
    if posterior.gates is None:
        return ""
    gates = ", ".join(
        f"{name} {chance:.2f}" for name, chance in posterior.gates.gates.items()
    )
    return (
        " The family is too large to try all of it: these schemes are those that one "
        f"training with gates found likeliest ({gates}) and their neighbours."
    )
