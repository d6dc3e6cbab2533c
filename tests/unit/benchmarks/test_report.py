import json

from benchmarks.compile.cost import rows as cost_rows
from benchmarks.compile.networks import NETWORKS
from benchmarks.compile.report import all_rows, fill, tables
from benchmarks.jobs import Store, origins
from benchmarks.results import write


def engine(seconds):
    return {
        "variant": "v",
        "version": "1",
        "notes": {},
        "errors": [1e-6],
        "wall_s": [[seconds]] * 3,
        "cpu_s": [[seconds]] * 3,
    }


def store_with_one_network(folder):
    store = Store(folder)
    engines = {"eager": engine(4.0), "openvino": engine(2.0), "ours": engine(1.0)}
    store.put(
        "e2e/resnet18/1",
        {
            "flops": 1e9,
            "peak_flops_per_s": 1e10,
            "others_processors": 0.0,
            "engines": engines,
        },
    )
    return store


def test_every_claim_has_a_row_of_its_own_before_anything_is_measured(tmp_path):
    ids = [row.id for row in all_rows(Store(tmp_path))]
    assert len(ids) == len(set(ids))
    for claim in (
        "compile/rank/this/hot/regret",
        "compile/rank/sse42/cold/spearman",
        "compile/tuning/resnet50/total",
        "compile/e2e/2/mean",
        "compile/cost/seconds",
        *(f"compile/e2e/1/{name}/error" for name in NETWORKS),
    ):
        assert claim in ids


def test_tables_show_latencies_the_best_peer_and_the_goals(tmp_path, capsys):
    rows = all_rows(store_with_one_network(tmp_path / "samples"))
    text = tables(write(tmp_path, rows, quick=False))
    assert (
        "| resnet18 | 1.00 s | 4.00 s | - | - | **2.00 s** | 2 x [2.00, 2.00] | "
        "10.0 % | 1e-06 |"
    ) in text
    assert "| vgg16 | - | - | - | - | - | - | - | - |" in text
    assert "tuning and compiling, 2 cores" in text
    assert "### Rank and regret" in text
    assert "### MetaSchedule" in text


def test_only_what_stands_between_the_markers_is_written(tmp_path, capsys):
    store = store_with_one_network(tmp_path / "samples")
    results = write(tmp_path, all_rows(store), quick=False)
    readme = tmp_path / "README.md"
    begin, end = "<!-- results: written by the command -->", "<!-- end of results -->"
    readme.write_text(f"before\n{begin}\nstale text\n{end}\nafter\n")
    fill(readme, results, store)
    once = readme.read_text()
    assert once.startswith(f"before\n{begin}\n")
    assert once.endswith(f"{end}\nafter\n")
    assert "stale text" not in once
    (sentence,) = (line for line in once.splitlines() if line.startswith("Samples: "))
    assert sentence.startswith("Samples: e2e on ")
    assert sentence.endswith(" (1).")
    fill(readme, results, store)
    assert readme.read_text() == once


def test_the_cost_of_compiling_has_three_goals():
    measured = {
        "first": {"seconds": 12.0, "peak_bytes": 2 * 10**9, "imports_bytes": 10**9},
        "second": {"seconds": 2.0},
    }
    found = cost_rows({"cost/resnet50": json.loads(json.dumps(measured))})
    assert [(row.value, row.op, row.goal) for row in found] == [
        (12.0, "<=", 20.0),
        (2 * 10**9, "<=", 3e9),
        (2.0, "<=", 3.0),
    ]
    assert found[1].note == "1.00 GB of it before the compilation"
    assert {row.note for row in cost_rows({})} == {"not measured"}


def test_nothing_measured_has_no_origin(tmp_path):
    assert origins(Store(tmp_path)) == "Samples: none."
