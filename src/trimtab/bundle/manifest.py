"""manifest.json: what a bundle is, what made it, and how it stands to its budget.

There is no clock and no host name in it: the same plan and seed give the same manifest.
What was observed (times, hosts, dates) goes beside the bundle, see
`trimtab.bundle.observations`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from trimtab.cost.verdict import Verdict
from trimtab.errors import BundleError

__all__ = ["FORMAT", "Manifest", "dumps", "loads"]

FORMAT = "trimtab-bundle-1"
"""Stands in every manifest; a reader refuses others."""

_MAX_CHARACTERS = 16 << 20


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
        values: the quantities a budget can limit.
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
    """Return the manifest as JSON, for people too."""
    record = asdict(manifest)
    for verdict, written in zip(manifest.verdicts, record["verdicts"], strict=True):
        written["slack"] = verdict.slack
        written["fits"] = verdict.fits
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def loads(text: str, where: str) -> Manifest:
    """Return the manifest that `text` describes.

    Raises:
        BundleError: it is none, or one of another format.
    """
    remedy = "make the bundle again with this version of trimtab"
    if len(text) > _MAX_CHARACTERS:
        rule = f"it has {len(text)} characters, at most {_MAX_CHARACTERS}"
        raise BundleError("manifest", rule=rule, where=where, remedy=remedy)
    try:
        record = json.loads(text)
        found = record.get("format") if isinstance(record, Mapping) else None
        if found != FORMAT:
            raise BundleError(
                f"bundle of format {found!r}",
                rule=f"this version reads {FORMAT!r}",
                where=where,
                remedy=remedy,
            )
        for verdict in record.get("verdicts") or ():
            if isinstance(verdict, dict):  # both follow from the other fields
                verdict.pop("slack", None)
                verdict.pop("fits", None)
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
    except (ValueError, RecursionError) as error:
        raise BundleError(
            "manifest", rule=f"it is no JSON: {error}", where=where, remedy=remedy
        ) from error
