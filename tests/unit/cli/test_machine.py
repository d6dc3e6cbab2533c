import importlib.util
import json

import pytest

from trimtab.hardware.load import machine


def test_list_names_machines_and_links(trimtab):
    record = json.loads(trimtab("machine", "list", "--json").stdout)
    names = {each["name"] for each in record["machines"]}
    assert {"milan", "graviton2", "raspberry-pi-4", "h100"} <= names
    assert {"4g", "wifi"} <= {each["name"] for each in record["links"]}
    assert "milan" in trimtab("machine", "list").stdout


def test_show_has_a_source_beside_every_number(trimtab):
    record = json.loads(trimtab("machine", "show", "milan", "--json").stdout)
    cores = record["numbers"]["cores"]
    assert cores["value"] == machine("milan").cores
    assert all(number["source"] for number in record["numbers"].values())


def test_check_lists_what_is_not_sourced(trimtab):
    done = trimtab("machine", "check", "--json")
    assert done.returncode == 0, done.stdout
    record = json.loads(done.stdout)
    assert record["unsourced"]
    assert not [f for f in record["findings"] if f["severity"] == "error"]


def test_check_reads_the_tables_of_cores(trimtab):
    record = json.loads(trimtab("machine", "check", "milan", "--json").stdout)
    assert record["cores"] == ["znver3"]
    assert record["measured"] == []
    owners = {each["machine"] for each in record["unsourced"]}
    assert owners == {"milan", "core znver3"}
    everything = json.loads(trimtab("machine", "check", "--json").stdout)
    assert {"znver3", "neoverse-n1"} <= set(everything["cores"])


def test_check_compares_the_table_with_this_core(trimtab):
    pytest.importorskip("tvm", reason="needs the extra `compile`")
    done = trimtab("machine", "check", "milan", "--measure", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["measured"]
    assert {"load", "store"} <= {each["name"] for each in found}
    for each in found:
        assert each["ratio"] == each["measured_cycles"] / each["predicted_cycles"]


def test_detect_then_calibrate_then_this(trimtab):
    before = json.loads(trimtab("machine", "show", "this", "--json").stdout)
    assert before["numbers"]["dispatch_s"]["origin"] == "derived"
    done = trimtab("machine", "calibrate")
    assert done.returncode == 0, done.stderr
    assert "kept in" in done.stdout
    after = json.loads(trimtab("machine", "show", "this", "--json").stdout)
    assert after["fingerprint"]
    assert after["numbers"]["dispatch_s"]["origin"] == "measured"
    clock = after["numbers"]["core.frequency_hz"]
    if importlib.util.find_spec("tvm"):
        assert clock["source"] == "probe generated code"
    else:
        assert "the clock and level 1 were not measured: TVM" in done.stdout


def test_an_unknown_machine(trimtab):
    done = trimtab("machine", "show", "graviton22")
    assert done.returncode == 1
    assert "graviton2" in done.stderr
    assert "Traceback" not in done.stderr
