"""The paper's four questions for its eight networks, calibrated by what was measured.

    python -m benchmarks.partition.study

Reads the stored records of `calibrate`; networks without any are simulated uncalibrated
and said so.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.jobs import Store
from benchmarks.partition.calibrate import NETWORKS
from trimtab.partition.answers import Answers
from trimtab.pipeline.study import StudyPlan, study

__all__ = ["main"]

_SAMPLES: Final = Path(__file__).parent / "samples"
_KEYS: Final = (
    "network", "position", "codec", "uplink_bytes_per_s", "rtt_s", "edge_slowdown",
    "cloud_slowdown", "latency_s", "edge_s", "cloud_s", "used_for",
)  # fmt: skip


def main() -> None:
    """Do the study; print what it found."""
    stored = Store(_SAMPLES).all("calibrate/")
    records = [
        {key: each[key] for key in _KEYS}
        for found in stored.values()
        for each in found.get("records", [])
    ]
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points.json"
        points.write_text(json.dumps(records))
        plan = StudyPlan(
            networks=tuple(f"zoo:{name}" for name in NETWORKS),
            calibration=points if records else None,
        )
        found = study(plan, Path(folder) / "study", lambda what, done, text: None)
    print(
        json.dumps({
            "points": found.points,
            "prepare_cpu_s": found.prepare_cpu_s,
            "simulate_cpu_s": found.simulate_cpu_s,
            "answer_cpu_s": found.answer_cpu_s,
            "calibrated": [asdict(each) for each in found.calibrations],
            "answers": [_short(each) for each in found.found],
        })
    )  # fmt: skip


def _short(each: Answers) -> Mapping[str, Any]:
    """Return what the table of the benchmark quotes."""
    whole = asdict(each)
    return {
        "network": each.network,
        "objective": each.objective,
        "shares": whole["shares"],
        "elasticity": {
            effect.factor: effect.elasticity_best.mean
            for effect in each.effects
            if effect.elasticity_best is not None
        },
        "conditions": each.conditions,
        "compressed_frac": each.compressed_frac,
        "gain": whole["gain"],
        "machines_tau": whole["machines_tau"],
    }


if __name__ == "__main__":
    main()
