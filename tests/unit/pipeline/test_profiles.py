"""Machines by name, file and folder."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from trimtab.errors import DataError, UnknownMachineError
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine
from trimtab.partition.profiles import write
from trimtab.pipeline.observed import Correction
from trimtab.pipeline.profiles import profile_of


def graph(width=2):
    net = nn.Sequential(nn.Linear(8, width), nn.ReLU()).eval()
    return capture(net, (torch.zeros(1, 8),), name=f"net{width}")


def test_a_name_asks_the_model():
    found, like = profile_of("milan", graph(), threads=2)
    assert (found.source, found.threads, like.name) == ("estimated", 2, "milan")


def test_what_was_observed_here_corrects_this_machine_alone():
    one = graph()
    here = machine("this").fingerprint
    seen = Correction(factor=2.0, count=1, date="2026-01-01", host=here, code=False)
    before, after = (
        profile_of("this", one, seen=each)[0].p50_s for each in (None, seen)
    )
    assert after == pytest.approx([2 * each for each in before])
    assert profile_of("milan", one, seen=seen) == profile_of("milan", one)


def test_what_is_carried_over_is_not_corrected(tmp_path):
    one = graph()
    here = machine("this").fingerprint
    seen = Correction(factor=3.0, count=1, date="2026-01-01", host=here, code=False)
    own = replace(profile_of("this", one)[0], source="measured")
    write(own, tmp_path / "here.json")
    carried = str(tmp_path / "here.json")
    found = profile_of("milan", one, carried=carried, seen=seen)[0]
    assert found.source == "scaled"
    assert found == profile_of("milan", one, carried=carried)[0]


def test_a_file_is_read_and_its_machine_found_by_title(tmp_path):
    one = graph()
    pi = machine("raspberry-pi-4")
    made = replace(profile_of("turin", one)[0], machine=pi.title, source="measured")
    write(made, tmp_path / "pi.json")
    found, like = profile_of(str(tmp_path / "pi.json"), one)
    assert found == made
    assert like.name == "raspberry-pi-4"
    write(replace(made, machine="a board"), tmp_path / "pi.json")
    assert profile_of(str(tmp_path / "pi.json"), one)[1].name == machine("this").name


def test_a_folder_has_one_of_each_network(tmp_path):
    for width in (2, 3):
        made = profile_of("turin", graph(width))[0]
        write(made, tmp_path / f"{width}.json")
    found = profile_of(str(tmp_path), graph(3))[0]
    assert found.graph == profile_of("turin", graph(3))[0].graph
    with pytest.raises(DataError, match="none is of network 'net4'"):
        profile_of(str(tmp_path), graph(4))
    (tmp_path / "1.json").write_text(json.dumps({**asdict(found), "more": 1}))
    with pytest.raises(DataError, match="more"):
        profile_of(str(tmp_path), graph(4))


def test_what_there_is_not():
    with pytest.raises(UnknownMachineError):
        profile_of("no-machine", graph())
    with pytest.raises(DataError):
        profile_of("absent.json", graph())
