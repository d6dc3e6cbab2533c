"""`trimtab partition study` and `replay` from the command line."""

import json

import pytest

SMALL = ("--edge", "raspberry-pi-4", "--cloud", "turin", "--points", "1")


def test_a_study_for_people_and_for_programs(trimtab, tmp_path):
    done = trimtab("partition", "study", "zoo:lenet5", "-o", "out", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Best in latency" in done.stdout
    assert "Best in throughput" in done.stdout
    assert "points in" in done.stdout
    assert "simulate" in done.stderr
    done = trimtab(
        "partition", "study", "zoo:lenet5", "-o", "out", *SMALL, "--json",
        "--objective", "p95",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["manifest"]["objectives"] == ["p95"]
    assert found["simulate_cpu_s"] > 0
    written = json.loads((tmp_path / "out" / "study.json").read_text())
    assert written["networks"] == found["networks"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--objective", "speed"), "objective 'speed'"),
        (("--codec", "int7"), "codec 'int7'"),
        (("--edge", "no-machine"), "no-machine"),
        (("--calibration", "absent.json"), "absent.json"),
        (("--private-layers", "99"), "layers with weights"),
    ],
)
def test_bad_input_of_a_study_is_one_message(trimtab, tmp_path, options, said):
    done = trimtab("partition", "study", "zoo:lenet5", "-o", "out", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


TRACE = "time_s,uplink_mbit_s,rtt_ms\n" + "".join(
    f"{second},{80 if second % 20 < 10 else 0.1},5\n" for second in range(40)
)


def test_a_replay_of_a_recorded_trace(trimtab, tmp_path):
    (tmp_path / "walk.csv").write_text(TRACE)
    replayed = ("partition", "replay", "walk.csv", "--network", "zoo:alexnet")
    done = trimtab(*replayed, "--deadline", "200ms", "-o", "replay.html")
    assert done.returncode == 0, done.stderr
    assert "over the optimum" in done.stdout
    assert "Policies" in (tmp_path / "replay.html").read_text()
    done = trimtab(*replayed, "--json", "--policy", "static", "--policy", "adaptive")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    static, adaptive = found["policies"]
    assert (static["policy"], adaptive["policy"]) == ("static", "adaptive")
    assert found["requests"] == "400"
    assert adaptive["recovery_s"] <= 4.0
    assert adaptive["late_frac"] is None


@pytest.mark.parametrize(
    ("trace", "options", "said"),
    [
        ("absent.csv", (), "absent.csv"),
        ("synthetic:5g", (), "4g-walk"),
        ("synthetic:flips", ("--policy", "magic"), "policy 'magic'"),
        ("synthetic:flips", ("--rate", "0"), "above 0"),
        ("synthetic:flips", ("--deadline", "soon"), "soon"),
        ("synthetic:flips", ("-o", "no/where.html"), "folder does not exist"),
    ],
)
def test_bad_input_of_a_replay_is_one_message(trimtab, trace, options, said):
    done = trimtab("partition", "replay", trace, "--network", "zoo:lenet5", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_line_of_a_wrong_trace_is_named(trimtab, tmp_path):
    (tmp_path / "walk.csv").write_text("time_s,uplink_mbit_s\n0,1\n1,fast\n")
    done = trimtab("partition", "replay", "walk.csv", "--network", "zoo:lenet5")
    assert done.returncode == 1
    assert "Line 3" in done.stderr or "line 3" in done.stderr
