"""manifest.json comes back as it was, and nothing else is read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.bundle.manifest import FORMAT, Manifest, dumps, loads
from trimtab.cost.verdict import Verdict
from trimtab.errors import BundleError

REMEDY = "Make the bundle again with this version of trimtab."


def changed(manifest: Manifest, **changes: Any) -> str:
    return json.dumps({**json.loads(dumps(manifest)), **changes})


def test_round_trip(manifest: Manifest) -> None:
    assert loads(dumps(manifest), "here") == manifest
    assert dumps(manifest).endswith("}\n")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(
    name=st.text(),
    seed=st.integers(),
    plan=st.dictionaries(st.text(), JSON, max_size=4),
    values=st.dictionaries(st.text(), FINITE, max_size=4),
    stages=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
)
def test_round_trip_of_anything(
    name: str,
    seed: int,
    plan: dict[str, Any],
    values: dict[str, float],
    stages: tuple[tuple[str, str], ...],
) -> None:
    manifest = Manifest(
        format=FORMAT, name=name, versions={}, seed=seed, machine="m", threads=1,
        plan=plan, inputs={}, stages=stages, values=values, verdicts=(), files={},
    )  # fmt: skip
    assert loads(dumps(manifest), "here") == manifest


def test_a_reader_sees_slack_and_whether_it_fits(manifest: Manifest) -> None:
    parameters, latency = json.loads(dumps(manifest))["verdicts"]
    assert (parameters["slack"], parameters["fits"]) == (20 - 24, False)
    assert (latency["slack"], latency["fits"]) == (1.0 - 0.5, True)


def test_slack_that_was_edited_is_not_believed(manifest: Manifest) -> None:
    record = json.loads(dumps(manifest))
    record["verdicts"][0].update(slack=1000, fits=True)
    found = loads(json.dumps(record), "here").verdicts[0]
    assert (found.slack, found.fits) == (20 - 24, False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(manifest: Manifest, value: float) -> None:
    odd = replace(manifest, values={"good": 1.0, "accuracy_frac": value})
    with pytest.raises(BundleError) as caught:
        dumps(odd)
    assert str(caught.value) == (
        "manifest of 'small': its numbers must be finite: accuracy_frac = "
        f"{value}. See which stage made the number, such as a training that diverged."
    )


def test_a_verdict_is_finite_too(manifest: Manifest) -> None:
    verdict = Verdict(name="latency_s", value=math.inf, limit=1.0, unit="s")
    with pytest.raises(BundleError, match="its numbers must be finite: Out of range"):
        dumps(replace(manifest, values={}, verdicts=(verdict,)))


@pytest.mark.parametrize("found", ["trimtab-bundle-2", None, 1])
def test_another_format_is_refused(manifest: Manifest, found: object) -> None:
    with pytest.raises(BundleError) as caught:
        loads(changed(manifest, format=found), "b/manifest.json")
    assert str(caught.value) == (
        f"bundle of format {found!r}: this version reads {FORMAT!r} "
        f"(b/manifest.json). {REMEDY}"
    )


@pytest.mark.parametrize("text", ["[]", "1", "null", '"text"', "{}"])
def test_json_of_another_kind_has_no_format(text: str) -> None:
    with pytest.raises(BundleError, match="bundle of format None: this version reads"):
        loads(text, "here")


@pytest.mark.parametrize("text", ["", "{", "{} {}", "nonsense", "[" * 200_000])
def test_no_json(text: str) -> None:
    with pytest.raises(BundleError) as caught:
        loads(text, "here")
    assert str(caught.value).startswith("manifest: it is no JSON: ")
    assert str(caught.value).endswith(f"(here). {REMEDY}")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"extra": 1}, "extra: Unexpected keyword argument"),
        ({"seed": "one"}, "seed: Input should be a valid integer"),
        ({"files": {"a": 1}}, "files.a: Input should be a valid string"),
        ({"stages": [["only one"]]}, "stages.0.1: Field required"),
        ({"verdicts": 5}, "verdicts: Input should be a valid tuple"),
        ({"verdicts": None}, "verdicts: Input should be a valid tuple"),
        ({"verdicts": [5]}, "verdicts.0: Input should be a dictionary"),
        ({"verdicts": [{}]}, "verdicts.0.name: Field required"),
        (
            {"values": {"latency_s": "fast"}},
            "values.latency_s: Input should be a valid",
        ),
    ],
)
def test_the_place_of_what_is_wrong_is_named(
    manifest: Manifest, changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(BundleError) as caught:
        loads(changed(manifest, **changes), "here")
    assert str(caught.value).startswith(f"manifest: {rule}")
    assert str(caught.value).endswith(f"(here). {REMEDY}")


@pytest.mark.parametrize("key", ["name", "files", "threads"])
def test_every_key_is_needed(manifest: Manifest, key: str) -> None:
    record = json.loads(dumps(manifest))
    del record[key]
    with pytest.raises(BundleError, match=f"manifest: {key}: Field required"):
        loads(json.dumps(record), "here")
