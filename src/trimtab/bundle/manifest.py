"""manifest.json: what a bundle is, what made it, and how it stands to its budget.

There is no clock and no host name in it: the same plan and seed give the same manifest.
What was observed (times, hosts, dates) goes beside the bundle, see
`trimtab.bundle.observations`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from trimtab.cost.verdict import Verdict
from trimtab.errors import BundleError

__all__ = ["FORMAT", "MAX_BYTES", "Manifest", "dumps", "loads"]

FORMAT = "trimtab-bundle-1"
"""Stands in every manifest; a reader refuses others."""

MAX_BYTES = 16 << 20
"""A longer manifest is not read."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What stands in manifest.json.

    Attributes:
        format: of the bundle.
        name: for people.
        versions: of trimtab, torch and what else shaped the result.
        seed: of everything random.
        machine: the bundle was decided for.
        threads: one call was planned for.
        plan: the resolved run file; empty for a bundle without one.
        inputs: SHA-256 of what went in, by name (network, weights, data).
        stages: what ran, in order, and the sentence it ended with.
        values: quantities of the network, those a budget can limit among them.
        verdicts: how the result stands to its budget.
        files: SHA-256 of every other file in the bundle.
    """

    format: str
    name: str
    versions: dict[str, str]
    seed: int
    machine: str
    threads: int
    plan: dict[str, Any]
    inputs: dict[str, str]
    stages: tuple[tuple[str, str], ...]
    values: dict[str, float]
    verdicts: tuple[Verdict, ...]
    files: dict[str, str]


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def dumps(manifest: Manifest) -> str:
    """Return the manifest as JSON, for people too.

    Raises:
        BundleError: a value is not finite: JSON has no word for it.
    """
    record = asdict(manifest)
    for verdict, written in zip(manifest.verdicts, record["verdicts"], strict=True):
        written["slack"] = verdict.slack
        written["fits"] = verdict.fits
    try:
        return json.dumps(record, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        odd = [
            f"{name} = {value}"
            for name, value in manifest.values.items()
            if not math.isfinite(value)
        ]
        raise BundleError(
            f"manifest of {manifest.name!r}",
            rule=f"its numbers must be finite: {', '.join(odd) or error}",
            remedy="see which stage made the number, such as a training that diverged",
        ) from error


def loads(text: str, where: str) -> Manifest:
    """Return the manifest that `text` describes.

    Raises:
        BundleError: it is none, or one of another format.
    """
    remedy = "make the bundle again with this version of trimtab"
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            "manifest", rule=f"it is no JSON: {error}", where=where, remedy=remedy
        ) from error
    found = record.get("format") if isinstance(record, Mapping) else None
    if found != FORMAT:
        raise BundleError(
            f"bundle of format {found!r}",
            rule=f"this version reads {FORMAT!r}",
            where=where,
            remedy=remedy,
        )
    verdicts = record.get("verdicts")
    for verdict in verdicts if isinstance(verdicts, list) else ():
        if isinstance(verdict, dict):  # both follow from the other fields
            verdict.pop("slack", None)
            verdict.pop("fits", None)
    try:
        return _ADAPTER.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(
            "manifest",
            rule=f"{place}: {first['msg']}",
            where=where,
            remedy=remedy,
        ) from error
