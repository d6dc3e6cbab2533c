"""Measured points: read with suspicion, fitted in parts, judged by others."""

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.partition.test_plan import graph, space  # noqa: F401 - a fixture

from trimtab.errors import DataError
from trimtab.partition.calibrate_points import Fit, Point, calibrated, noise_of, read
from trimtab.partition.conditions import Conditions

TRUE = Fit(edge_scale=1.7, cloud_scale=0.6, link_scale=1.1, link_s=0.008)


def points(some, count=60, noise=0.03, seed=0, true=TRUE):
    """Points that a machine would show which is as `true` says."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        row = int(rng.integers(len(some.cuts)))
        at = Conditions(
            uplink_bytes_per_s=float(10 ** rng.uniform(4.5, 6.5)),
            rtt_s=float(rng.uniform(0.002, 0.1)),
            edge_slowdown=float(rng.uniform(1, 4)),
            cloud_slowdown=float(rng.uniform(1, 4)),
        )
        edge, link, cloud = (float(each[row]) for each in some.parts(at))
        away = not some.local[row]
        factors = np.exp(rng.normal(0.0, noise, (3, 5)))
        e = true.edge_scale * edge * factors[0]
        c = true.cloud_scale * cloud * factors[1]
        x = (true.link_scale * link + true.link_s) * factors[2] if away else 0.0 * e
        found.append(
            {
                "network": some.graph.name, "position": int(some.positions[row]),
                "codec": some.codecs[row], "rtt_s": at.rtt_s,
                "uplink_bytes_per_s": at.uplink_bytes_per_s,
                "edge_slowdown": at.edge_slowdown, "cloud_slowdown": at.cloud_slowdown,
                "latency_s": (e + x + c).tolist(), "edge_s": e.tolist(),
                "cloud_s": c.tolist(), "used_for": "fit" if number % 2 else "test",
            }
        )  # fmt: skip
    return found


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_fit_finds_what_is_true(graph, tmp_path):  # noqa: F811
    some = space(graph, edge=0.02, cloud=0.01, codecs=("raw", "int8"))
    found = calibrated(some, read(write(tmp_path / "p.json", points(some))))
    assert found.fit.edge_scale == pytest.approx(TRUE.edge_scale, rel=0.03)
    assert found.fit.cloud_scale == pytest.approx(TRUE.cloud_scale, rel=0.03)
    assert found.fit.link_scale == pytest.approx(TRUE.link_scale, rel=0.1)
    assert found.fit.link_s == pytest.approx(TRUE.link_s, abs=0.004)
    assert (found.fitted, found.tested) == (30, 30)
    assert found.median_error_frac < 0.04 < 0.1 < found.before_median_error_frac
    assert found.p90_error_frac < 0.1
    assert found.noise_frac == pytest.approx(0.03, rel=0.5)


def test_a_wild_point_in_ten_moves_little(graph):  # noqa: F811
    some = space(graph, edge=0.02, cloud=0.01)
    wild = points(some)
    for each in wild[1::20]:
        for name in ("latency_s", "edge_s", "cloud_s"):
            each[name] = [8 * x for x in each[name]]
    found = calibrated(some, [Point(**each) for each in wild])
    assert found.fit.edge_scale == pytest.approx(TRUE.edge_scale, rel=0.1)
    assert found.median_error_frac < 0.06


def test_no_parameter_is_below_zero(graph):  # noqa: F811
    some = space(graph, edge=0.02, cloud=0.01)
    fast = Fit(link_scale=0.9, link_s=-0.002)
    found = calibrated(some, [Point(**each) for each in points(some, true=fast)])
    assert found.fit.link_s == 0.0
    assert found.fit.link_scale > 0


def test_only_points_of_the_network_count(graph):  # noqa: F811
    some = space(graph)
    mine = [Point(**each) for each in points(some)]
    others = [Point(**{**each, "network": "other"}) for each in points(some, seed=1)]
    assert calibrated(some, [*others, *mine]) == calibrated(some, mine)
    with pytest.raises(DataError, match="0 points to fit"):
        calibrated(some, others)


def test_noise_is_that_of_repeats():
    one: dict[str, Any] = {
        "network": "n", "position": 0, "codec": "raw", "uplink_bytes_per_s": 1.0,
        "rtt_s": 0.0, "edge_slowdown": 1.0, "cloud_slowdown": 1.0, "edge_s": [],
        "cloud_s": [], "used_for": "fit",
    }  # fmt: skip
    assert noise_of([Point(**one, latency_s=[1.0])]) == 0.0
    assert noise_of([Point(**one, latency_s=[1.0, 1.0])]) == 0.0
    found = noise_of([Point(**one, latency_s=[1.0, np.e])])
    assert found == pytest.approx(0.5**0.5)  # deviation of 0 and 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rtt_s": -1.0}, "0.rtt_s"),
        ({"rtt_s": "fast"}, "0.rtt_s"),
        ({"latency_s": []}, "0.latency_s"),
        ({"latency_s": [0.0]}, "0.latency_s.0"),
        ({"edge_slowdown": 0.5}, "0.edge_slowdown"),
        ({"used_for": "train"}, "0.used_for"),
        ({"position": 1.5}, "0.position"),
        ({"colour": "red"}, "0.colour"),
    ],
)
def test_what_is_no_point_is_named(graph, tmp_path, change, said):  # noqa: F811
    one = {**points(space(graph), count=1)[0], **change}
    with pytest.raises(DataError, match=said):
        read(write(tmp_path / "p.json", [one]))


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null", '[{"rtt_s": NaN}]'])
def test_what_is_no_list_of_points(tmp_path, content):
    with pytest.raises(DataError, match="measured points"):
        read(write(tmp_path / "p.json", content))


def test_a_file_that_is_absent(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read(tmp_path / "absent.json")


def test_a_cut_that_the_network_has_not(graph):  # noqa: F811
    some = space(graph)
    strange = [Point(**{**each, "position": 77}) for each in points(some)]
    with pytest.raises(DataError, match="position 77"):
        calibrated(some, strange)
