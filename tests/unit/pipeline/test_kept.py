"""Results of stages, found by what they follow from, and refused if they are not."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trimtab.bundle.section import Heatmap, Section
from trimtab.bundle.stage import Context, StageResult
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.hardware.load import machine
from trimtab.pipeline import kept as module
from trimtab.pipeline.identity import look
from trimtab.pipeline.kept import Done, Kept, key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rate: float = 1.0
    file: str | None = None


class Plain:
    """A stage that cannot build a network again."""

    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("budget", "latency", "machine", "seed")

    def run(self, context, settings):
        raise AssertionError("it is not run here")


class Doubling(Plain):
    """A stage that can: it doubles the network."""

    def rebuild(self, context, settings, files):
        assert files["how"] == b"twice"
        return nn.Sequential(*context.network, *context.network, nn.Linear(3, 3))


class Unknown:
    """A model of latency that nothing is known of."""

    def estimate(self, graph, machine, threads=1):
        raise AssertionError("it is not asked here")


@pytest.fixture
def context(tmp_path):
    torch.manual_seed(0)
    return Context(
        name="n",
        network=nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval(),
        inputs=(torch.ones(1, 3),),
        keywords={},
        data=None,
        machine=machine("milan"),
        threads=1,
        latency=Roofline(),
        budget=Budget(),
        seed=0,
        folder=tmp_path,
        progress=lambda done, text: None,
    )


def seen(network):
    return look(network, (torch.ones(1, 3),), {}, "n")


def done(network, **parts):
    nan = Heatmap(
        title="t", x_title="x", y_title="y", value_title="v", x=(1,), y=(1,),
        values=((float("nan"),),),
    )  # fmt: skip
    result = StageResult(
        network=network,
        summary="it was done",
        sections=(Section(name="s", title="t", text="x", figures=(nan,)),),
        values={"accuracy_frac": 0.5},
        observed={"latency": {"measured_s": 0.25}},
        observed_verdicts=Budget(latency_s=1.0).judge({"latency_s": 0.25}),
        **parts,
    )
    return Done(name="s", result=result, date="2026-01-01", host="h", kept=False)


def key(context, stage=None, settings=None):
    stage = stage or Plain()
    return key_of("s", stage, settings or Settings(), context, seen(context.network))


def again(kept, found, stage, context):
    return kept.get(found, "s", stage, Settings(), context, seen(context.network), seen)


def trained(network):
    made = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval()
    assert len(list(made)) == len(list(network))
    return made


def test_a_result_is_the_same_when_it_is_taken(context):
    notes: list[str] = []
    kept = Kept(notes.append)
    after = trained(context.network)
    first = done(after, files={"a": b"\x00\x01", "empty": b""})
    found = key(context)
    assert again(kept, found, Plain(), context) is None
    kept.put(found, first, Plain(), seen(context.network), seen(after))
    second, look_after = again(kept, found, Plain(), context)
    assert look_after.digest == seen(after).digest
    assert second.kept
    assert (second.date, second.host) == ("2026-01-01", "h")
    for name in ("summary", "values", "observed", "observed_verdicts", "files"):
        assert getattr(second.result, name) == getattr(first.result, name)
    assert repr(second.result.sections) == repr(first.result.sections)  # NaN
    assert context.network[0].weight.data_ptr() != after[0].weight.data_ptr()
    assert not notes


def test_a_network_that_stays_is_the_one_before(context):
    kept = Kept()
    before = seen(context.network)
    kept.put(key(context), done(context.network), Plain(), before, before)
    _, after = again(kept, key(context), Plain(), context)
    assert after.network is not None
    assert after.digest == before.digest


def test_a_rewritten_network_is_built_again_by_its_stage(context):
    kept = Kept()
    stage = Doubling()
    first = context.network
    after = nn.Sequential(*first, *first, nn.Linear(3, 3)).eval()
    found = key(context, stage)
    files = {"how": b"twice"}
    kept.put(found, done(after, files=files), stage, seen(first), seen(after))
    _, look_after = again(kept, found, stage, context)
    assert look_after.digest == seen(after).digest


def test_one_that_cannot_be_built_again_is_not_kept_and_that_is_said(context):
    notes: list[str] = []
    kept = Kept(notes.append)
    after = nn.Sequential(nn.Linear(3, 3), nn.Tanh()).eval()
    kept.put(key(context), done(after), Plain(), seen(context.network), seen(after))
    assert "[s] is not kept: it rewrote the network" in notes[0]
    assert again(kept, key(context), Plain(), context) is None


def test_one_that_is_built_otherwise_is_refused(context):
    class Wrong(Doubling):
        def rebuild(self, context, settings, files):
            return nn.Sequential(
                *context.network, *context.network, nn.Linear(3, 3), nn.Tanh()
            )

    notes: list[str] = []
    kept = Kept(notes.append)
    after = Doubling().rebuild(context, Settings(), {"how": b"twice"}).eval()
    found = key(context, Doubling())
    files = {"how": b"twice"}
    kept.put(
        found, done(after, files=files), Doubling(), seen(context.network), seen(after)
    )
    assert again(kept, found, Wrong(), context) is None
    assert "was built again and is another one" in notes[0]


def test_what_is_too_large_is_not_kept_and_that_is_said(context, monkeypatch):
    monkeypatch.setattr(module, "MOST_ENTRY_BYTES", 10)
    notes: list[str] = []
    kept = Kept(notes.append)
    before = seen(context.network)
    files = {"large": b"x" * 11}
    kept.put(key(context), done(context.network, files=files), Plain(), before, before)
    assert "it has 11 bytes, at most 10 are" in notes[0]
    assert again(kept, key(context), Plain(), context) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),  # one bit
        lambda content: content[: len(content) // 2],  # cut off
        lambda content: b"0" * 64 + content[64:],  # the seal of somebody else
        lambda content: b"",
        lambda content: b"\x80\x04cos\nsystem\n",  # a pickle
    ],
)
def test_what_was_damaged_or_forged_is_refused_and_that_is_said(
    context, damage, tmp_path
):
    notes: list[str] = []
    kept = Kept(notes.append)
    before = seen(context.network)
    kept.put(key(context), done(context.network), Plain(), before, before)
    (path,) = (tmp_path / "cache" / "stages").glob("*/*.bin")
    path.write_bytes(damage(path.read_bytes()))
    assert again(kept, key(context), Plain(), context) is None
    assert "[s] is damaged or not from here: the stage is done again" in notes[0]


def test_an_entry_under_another_key_is_refused(context, tmp_path):
    kept = Kept()
    before = seen(context.network)
    other = key(context, settings=Settings(rate=2.0))
    kept.put(other, done(context.network), Plain(), before, before)
    (path,) = (tmp_path / "cache" / "stages").glob("*/*.bin")
    mine = key(context)
    place = path.parents[1] / mine[:2] / f"{mine[2:]}.bin"
    place.parent.mkdir(exist_ok=True)
    path.rename(place)
    assert again(kept, mine, Plain(), context) is None


class TestKey:
    def test_it_is_the_same_for_the_same(self, context):
        assert key(context) == key(context)

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 1},
            {"budget": Budget(parameters=3)},
            {"machine": machine("skylake-sp")},
            {"name": "other"},
            {"inputs": (torch.zeros(1, 3),)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_what_a_stage_reads_counts(self, context, change):
        assert key(replace(context, **change)) != key(context)

    def test_what_it_does_not_read_does_not(self, context):
        assert key(replace(context, threads=2)) == key(context)
        assert key(replace(context, files={"a": b""})) == key(context)

    def test_settings_the_network_and_the_stage_count(self, context):
        assert key(context, settings=Settings(rate=2.0)) != key(context)
        other = replace(context, network=trained(context.network))
        assert key(other) != key(context)
        before = seen(context.network)
        assert key_of("t", Plain(), Settings(), context, before) != key(context)

    def test_a_file_that_a_setting_names_counts_by_its_content(self, context):
        settings = Settings(file="profile.json")
        absent = key(context, settings=settings)
        (context.folder / "profile.json").write_text("1")
        one = key(context, settings=settings)
        (context.folder / "profile.json").write_text("2")
        assert len({absent, one, key(context, settings=settings)}) == 3

    def test_a_model_of_latency_that_nothing_is_known_of_has_none(self, context):
        assert key(replace(context, latency=Unknown())) is None


def test_a_number_is_found_once(tmp_path):
    kept = Kept(folder=tmp_path / "numbers")
    found = []

    def find():
        found.append(1)
        return 0.5

    assert [kept.number("a" * 64, find) for _ in range(3)] == [0.5, 0.5, 0.5]
    assert len(found) == 1
    assert kept.number("b" * 64, lambda: None) is None
    assert Path(tmp_path / "numbers").is_dir()
