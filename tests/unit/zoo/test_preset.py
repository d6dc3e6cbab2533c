from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files

import pytest

from trimtab.errors import UsageError
from trimtab.zoo.preset import (
    PRESETS,
    AbstractSizes,
    DienSizes,
    DinSizes,
    DlrmSizes,
    Input,
    NcfSizes,
    WideDeepSizes,
    parse_sizes,
    sizes,
)

MODELS = ("dien", "din", "mtwnd", "ncf", "rmc1", "rmc2", "rmc3", "wnd")

# Gigabytes of tables in the authors' code (models/configs of DeepRecSys): rows x width
# x 4 bytes, as the notes on the reference list them.
REFERENCE_GB = {
    "ncf": (2 * 140_000 + 2 * 28_000) * 64 * 4 / 1e9,
    "wnd": 27 * 1_000_000 * 32 * 4 / 1e9,
    "mtwnd": (41 * 500_000 + 2 * 5_000_000) * 32 * 4 / 1e9,
    "rmc1": 8 * 4_000_000 * 32 * 4 / 1e9,
    "rmc2": 32 * 500_000 * 64 * 4 / 1e9,
    "rmc3": 10 * 2_000_000 * 32 * 4 / 1e9,
    "din": (1_000_000 + 100_000 + 2 * 10_000_000) * 32 * 4 / 1e9,
    "dien": (41 * 500_000 + 2 * 5_000_000) * 32 * 4 / 1e9,
}
PRINTED_GB = {
    "ncf": "0.09", "wnd": "3.46", "mtwnd": "3.90", "rmc1": "4.10", "rmc2": "4.10",
    "rmc3": "2.56", "din": "2.70", "dien": "3.90",
}  # fmt: skip
# Rows an item times width times 4 bytes.
REFERENCE_LOOKUP_BYTES = {
    "ncf": 4 * 64 * 4,
    "wnd": 27 * 32 * 4,
    "mtwnd": 43 * 32 * 4,
    "rmc1": 8 * 80 * 32 * 4,
    "rmc2": 32 * 120 * 64 * 4,
    "rmc3": 10 * 20 * 32 * 4,
}

SMALL = """
[small]
users = 3
items = 2
dim = 4
mlp = [8]
"""


@pytest.mark.parametrize("model", MODELS)
def test_the_reference_has_the_bytes_of_the_authors_code(model: str) -> None:
    found = sizes(model, "reference")
    gigabytes = 4 * sum(found.rows) * found.dim / 1e9
    assert gigabytes == REFERENCE_GB[model]
    assert f"{gigabytes:.2f}" == PRINTED_GB[model]


@pytest.mark.parametrize("model", REFERENCE_LOOKUP_BYTES)
def test_the_reference_reads_as_much_an_item_as_the_authors_code(model: str) -> None:
    found = sizes(model, "reference")
    lookups = found.lookups if isinstance(found, DlrmSizes) else 1
    read = len(found.rows) * lookups * found.dim * 4
    assert read == REFERENCE_LOOKUP_BYTES[model]


@pytest.mark.parametrize("model", MODELS)
def test_the_default_fits_four_gigabytes_and_small_a_small_machine(model: str) -> None:
    assert PRESETS[0] == "paper"
    assert sizes(model, "paper").table_bytes < 4e9
    assert sizes(model, "small").table_bytes < 2**28


@pytest.mark.parametrize("model", MODELS)
def test_every_number_has_an_origin_beside_it(model: str) -> None:
    text = (files("trimtab.zoo") / "presets" / f"{model}.toml").read_text("utf-8")
    kinds = ("recalled", "code", "chosen", "by definition", "none", "Naumov")
    for line in text.splitlines():
        if "=" in line.partition("#")[0]:
            value, _, origin = line.partition("#")
            assert origin.strip().startswith(kinds), line
            if re.search(r"\[paper\]", value):
                assert origin


def test_paper_numbers_that_nobody_could_check_are_called_recalled() -> None:
    text = (files("trimtab.zoo") / "presets" / "rmc1.toml").read_text("utf-8")
    paper = text.partition("[paper]")[2].partition("[reference]")[0]
    for key in ("dense", "bottom", "tables", "lookups", "top"):
        (line,) = (each for each in paper.splitlines() if each.startswith(f"{key} ="))
        assert "# recalled" in line


def test_the_history_of_din_is_there_whoever_asks() -> None:
    """The authors' code loses 249 of 250 behaviours when a config file is given."""
    for preset in PRESETS:
        found = sizes("din", preset)
        assert found.inputs[1] == Input(
            name="history", shape=(250,), rows=(found.rows[0],), padded=True
        )


def test_several_tasks_are_several_by_default() -> None:
    for preset in PRESETS:
        found = sizes("mtwnd", preset)
        assert isinstance(found, WideDeepSizes)
        assert found.tasks == 5


def test_inputs_have_batch_shapes_types_and_bounds() -> None:
    dense, ids = sizes("rmc1", "small").inputs
    assert (dense.shape, dense.dtype, dense.rows) == ((128,), "float32", ())
    assert (ids.shape, ids.dtype, ids.rows) == ((8, 80), "int64", (250_000,) * 8)
    (pair,) = sizes("ncf", "small").inputs
    assert (pair.shape, pair.rows) == ((2, 1), (140_000, 28_000))


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("ncf", NcfSizes),
        ("wnd", WideDeepSizes),
        ("rmc3", DlrmSizes),
        ("din", DinSizes),
        ("dien", DienSizes),
    ],
)
def test_each_network_has_its_own_kind(model: str, kind: type[AbstractSizes]) -> None:
    """The authors' scripts run NCF as Wide & Deep and DIEN as DIN."""
    assert type(sizes(model, "paper")) is kind


def test_a_file_is_read_whole() -> None:
    found = parse_sizes("ncf", SMALL, where="here")["small"]
    assert found == NcfSizes(users=3, items=2, dim=4, mlp=(8,))
    assert found.rows == (3, 2, 3, 2)
    assert found.table_bytes == (3 + 2 + 3 + 2) * 4 * 4


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("items = 2", "items = 0"), "small.items: Input should be greater than or"),
        (("items = 2", "items = 2.0"), "small.items: Input should be a valid integer"),
        (("items = 2", 'items = "2"'), "small.items: Input should be a valid integer"),
        (("items = 2", "items = true"), "small.items: Input should be a valid integer"),
        (("items = 2", f"items = {2**31}"), "small.items: Input should be less than"),
        (("items = 2", ""), "small.items: Field required"),
        (("items = 2", "items = 2\nrows = 3"), "small.rows: Unexpected keyword"),
        (("[8]", "[]"), "small.mlp: Tuple should have at least 1 item"),
        (("[8]", "[8"), "Unclosed array"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    change: tuple[str, str], rule: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sizes("ncf", SMALL.replace(*change), where="mine.toml")
    assert rule in (caught.value.rule or "")
    assert caught.value.where == "mine.toml"


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = SMALL.replace("users = 3", "users = 0").replace("dim = 4", "dim = -1")
    with pytest.raises(UsageError, match=r"small\.dim: .*; small\.users: "):
        parse_sizes("ncf", text, where="here")


def test_products_need_vectors_of_one_length() -> None:
    found = sizes("rmc1", "paper")
    assert isinstance(found, DlrmSizes)
    with pytest.raises(UsageError) as caught:
        DlrmSizes(
            dense=4, bottom=(8,), tables=found.tables, dim=4, lookups=1,
            interaction="dot", top=(1,),
        )  # fmt: skip
    assert str(caught.value) == (
        "bottom layers that end in 8: products need vectors of one length, and tables "
        "have 4. Make both equal, or set the interaction to cat."
    )


def test_unknown_names_have_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        sizes("rmc1", "smalls")
    assert str(caught.value) == (
        "preset of rmc1 'smalls': there is none of that name (trimtab.zoo.preset). "
        "Did you mean small? Otherwise use one of paper, reference, small."
    )
    with pytest.raises(UsageError, match=r"^recommendation network 'lenet5'"):
        sizes("lenet5", "small")


def test_sizes_and_queries_do_not_import_torch() -> None:
    code = (
        "import sys; from trimtab.zoo.queries import Queries;"
        "from trimtab.zoo.preset import sizes;"
        "Queries(sizes('rmc1', 'small').inputs, seed=0).draw(2);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
