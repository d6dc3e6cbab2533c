"""`trimtab serve simulate`: what a machine would sustain."""

import json

import pytest

from trimtab.serve.curves import ServiceCurve, write

QUICK = ("--queries", "2000")


def simulated(trimtab, *options):
    done = trimtab("serve", "simulate", *QUICK, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_best_schedule_stands_beside_the_static_one(trimtab):
    found = simulated(trimtab, "--curve", "zoo:wnd", "--curve", "din")
    wnd, din = found["hosts"]
    assert (wnd["network"], wnd["static"]["batch"]) == ("Wide & Deep", 25)
    assert wnd["target"] == {"share": 0.95, "latency_s": 0.025}
    assert wnd["best"]["latency_s"] <= 0.025
    assert wnd["gain"] == wnd["best"]["rate_per_s"] / wnd["static"]["rate_per_s"] > 2
    assert din["gain"] == pytest.approx(1.0, abs=0.1)
    assert found["geometric_mean_gain"] == pytest.approx(
        (wnd["gain"] * din["gain"]) ** 0.5
    )
    assert found == simulated(trimtab, "--curve", "zoo:wnd", "--curve", "din")


def test_an_accelerator_and_a_shared_memory(trimtab):
    options = ("--curve", "zoo:wnd", "--cores", "2", "--slo", "p95=50ms")
    alone, helped = (
        simulated(trimtab, *options, *more)["hosts"][0]
        for more in ((), ("--gpu", "gtx-1080ti"))
    )
    assert helped["best"]["rate_per_s"] > 1.5 * alone["best"]["rate_per_s"]
    assert "not stated" in helped["accelerator"]
    free, shared = (
        simulated(trimtab, "--curve", "rmc2", "--bandwidth", each)["hosts"][0]
        for each in ("1000GB/s", "50GB/s")
    )
    assert shared["best"]["rate_per_s"] < 0.5 * free["best"]["rate_per_s"]


def test_a_curve_from_a_file_for_people(trimtab, tmp_path):
    curve = ServiceCurve(
        network="mine", source="by hand", sizes=(1, 256), seconds=(1e-3, 9e-3)
    )
    write(curve, tmp_path / "mine.json")
    done = trimtab(
        "serve", "simulate", *QUICK, "--curve", "mine.json", "--slo", "p99=30ms",
        "--cores", "4", "--sizes", "fixed:200", "--arrivals", "gamma:2", "--coalesce",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    assert "p99 30.0 ms" in done.stdout
    assert "with 95 % confidence" in done.stdout
    assert "curves: by hand" in done.stdout


def test_what_no_schedule_keeps_is_named(trimtab):
    alone = trimtab(
        "serve", "simulate", *QUICK, "--curve", "mtwnd", "--cores", "2", "--slo",
        "p95=5ms",
    )  # fmt: skip
    assert alone.returncode == 2
    assert "no batch size keeps it" in alone.stderr
    both = simulated(
        trimtab, "--curve", "mtwnd", "--curve", "ncf", "--cores", "2", "--slo",
        "p95=6ms",
    )  # fmt: skip
    mtwnd, ncf = both["hosts"]
    assert mtwnd["best"] is None
    assert "no batch size keeps it" in mtwnd["infeasible"]
    assert ncf["best"]["rate_per_s"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--curve", "zoo:resnet50"), "rmc1"),
        (("--curve", "absent.json", "--slo", "p95=1s"), "absent.json"),
        (("--curve", "ncf", "--slo", "fast"), "target 'fast'"),
        (("--curve", "ncf", "--sizes", "huge"), "query sizes 'huge'"),
        (("--curve", "ncf", "--arrivals", "never"), "arrivals 'never'"),
        (("--curve", "ncf", "--gpu", "tpu"), "accelerator 'tpu'"),
    ],
)
def test_bad_input_is_one_message(trimtab, options, said):
    done = trimtab("serve", "simulate", *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_file_has_no_target_and_no_rows_of_tables(trimtab, tmp_path):
    curve = ServiceCurve(network="mine", source="by hand", sizes=(1,), seconds=(1e-3,))
    write(curve, tmp_path / "mine.json")
    done = trimtab("serve", "simulate", "--curve", "mine.json")
    assert (done.returncode, "without a target" in done.stderr) == (1, True)
    done = trimtab(
        "serve", "simulate", "--curve", "mine.json", "--slo", "p95=1s", "--bandwidth",
        "1GB/s",
    )  # fmt: skip
    assert (done.returncode, "shipped networks only" in done.stderr) == (1, True)
