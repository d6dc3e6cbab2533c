"""Every number of a bundle is traced to what it rests on."""

import math

import numpy as np
import pytest

from trimtab.bundle import observations
from trimtab.bundle.store import read
from trimtab.errors import UsageError
from trimtab.pipeline.plan import parse_plan
from trimtab.pipeline.run import STAGES, run
from trimtab.pipeline.why import quantities, why


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small trained network of a machine of the catalogue, with an observation."""
    folder = tmp_path_factory.mktemp("why")
    patch = pytest.MonkeyPatch()
    patch.setenv("TRIMTAB_CACHE", str(folder / "cache"))
    rng = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        x=rng.integers(0, 255, (60, 28, 28), dtype=np.uint8),
        y=np.arange(60) % 10,
    )
    plan = parse_plan(
        {
            "network": "zoo:digits_cnn", "data": str(folder / "data.npz"),
            "machine": "milan", "output": str(folder / "out"), "seed": 3,
            "train": {"epochs": 1, "threads": 1},
        },
        set(STAGES), folder=folder, where="plan.toml",
    )  # fmt: skip
    made = run(plan).bundle
    patch.undo()
    observations.append(
        made, "latency", {"measured_s": 3.0, "predicted_s": 2.0, "threads": 1},
        date="2026-01-01", host="some-host",
    )  # fmt: skip
    return read(made)


@pytest.mark.parametrize(
    "quantity",
    ["latency_s", "parameters", "weight_bytes", "multiply_adds", "flops",
     "traffic_bytes", "peak_bytes"],
)  # fmt: skip
def test_the_parts_sum_up_to_the_number(bundle, quantity):
    found = why(bundle, quantity)
    assert found.value == bundle.manifest.values[quantity]
    assert math.fsum(part.value or 0.0 for part in found.parts) == pytest.approx(
        found.value
    )
    assert all(part.rule and part.inputs for part in found.parts)
    assert not any("asked another model" in note for note in found.notes)


def test_a_latency_names_what_bounds_it_and_the_numbers_of_the_machine(bundle):
    found = why(bundle, "latency")
    assert "AMD" in found.rule or "Milan" in found.rule
    assert any("bounds it" in part.rule for part in found.parts)
    figures = {each.path: each for each in found.figures}
    assert figures["dispatch_s"].value > 0
    assert figures["efficiency_frac.conv"].source
    assert all(each.origin != "unknown" for each in found.figures)
    (note,) = found.notes
    assert "times 1.5, by 1 observation(s) of it in PyTorch on host some-host" in note


def test_an_accuracy_names_the_stage_its_settings_and_the_data(bundle):
    found = why(bundle, "accuracy")
    assert found.rule == "found by stage [train]"
    (part,) = found.parts
    assert "epochs = 1" in part.inputs
    assert any(note.startswith("data ") for note in found.notes)
    assert "seed 3" in found.notes


def test_a_number_that_is_not_there_or_not_one_is_refused(bundle):
    with pytest.raises(UsageError, match="the bundle has no such number"):
        why(bundle, "beauty")
    with pytest.raises(UsageError, match="it could be parameters or peak_bytes"):
        why(bundle, "p")
    assert "latency_s" in quantities(bundle)


def test_a_number_that_was_changed_is_told_from_its_parts(bundle):
    bundle.manifest.values["parameters"] += 1
    try:
        (note,) = why(bundle, "parameters").notes
    finally:
        bundle.manifest.values["parameters"] -= 1
    assert "its parts sum up to 61.0 k" in note
