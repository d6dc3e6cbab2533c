"""A bundle becomes something to call; its source is not needed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trimtab.bundle import store
from trimtab.bundle.manifest import FORMAT, Manifest
from trimtab.errors import BundleError, ExecutionError, GraphError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.pipeline.load import load, measured_latency_s
from trimtab.runtime.compiled import CompiledNetwork

SOURCE = Path(store.__file__).parents[2]


class _Network(nn.Module):
    """Two inputs, one by name; a dict comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        y = torch.relu_(self.norm(self.conv(x)))
        return {"scores": self.out(y.mean((2, 3))) * scale, "features": y}


@pytest.fixture
def network() -> nn.Module:
    return _Network().eval()


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {"x": torch.randn(1, 3, 8, 8), "scale": torch.randn(2)}


@pytest.fixture
def bundle(tmp_path: Path, network: nn.Module, inputs: dict[str, Tensor]) -> Path:
    graph = capture(network, (inputs["x"],), {"scale": inputs["scale"]}, name="n")
    manifest = Manifest(
        format=FORMAT, name="n", versions={}, seed=0, machine="m", threads=1, plan={},
        inputs={}, stages=(), values={}, verdicts=(), files={},
    )  # fmt: skip
    weights = weights_of(network, graph)
    path = tmp_path / "n.trimtab"
    store.write(path, manifest, graph=graph, weights=weights, sections=())
    return path


@pytest.mark.parametrize("kind", [str, Path])
def test_it_computes_the_bits_of_the_network(
    bundle: Path,
    network: nn.Module,
    inputs: dict[str, Tensor],
    kind: Callable[[Path], str | Path],
) -> None:
    run = load(kind(bundle))
    found = run(inputs["x"], scale=inputs["scale"])
    with torch.no_grad():
        expected: dict[str, Tensor] = network(inputs["x"], scale=inputs["scale"])
    assert list(found) == ["scores", "features"]
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_calls_do_not_depend_on_each_other(
    bundle: Path, inputs: dict[str, Tensor]
) -> None:
    run = load(bundle)
    first = run(inputs["x"], scale=inputs["scale"])
    run(torch.ones(1, 3, 8, 8), scale=torch.zeros(2))
    again = run(inputs["x"], scale=inputs["scale"])
    assert torch.equal(first["scores"], again["scores"])


CALLER = """
import sys
import torch
from trimtab.pipeline.load import load

torch.set_num_threads(2)
run = load(sys.argv[1])
result = run(torch.ones(1, 3, 8, 8), scale=torch.ones(2))
print(result["scores"].tolist())
"""


@pytest.mark.integration
def test_another_process_needs_no_source(bundle: Path, network: nn.Module) -> None:
    process = subprocess.run(
        [sys.executable, "-c", CALLER, str(bundle)],
        env={"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    with torch.no_grad():
        expected = network(torch.ones(1, 3, 8, 8), scale=torch.ones(2))["scores"]
    assert json.loads(process.stdout) == expected.tolist()


def test_a_bundle_runs_where_it_is_moved(
    bundle: Path, tmp_path: Path, inputs: dict[str, Tensor]
) -> None:
    expected = load(bundle)(inputs["x"], scale=inputs["scale"])
    moved = bundle.rename(tmp_path / "moved")
    found = load(moved)(inputs["x"], scale=inputs["scale"])
    assert torch.equal(found["scores"], expected["scores"])


def test_the_device_is_chosen_when_it_is_loaded(bundle: Path) -> None:
    run = load(bundle, device="meta")
    assert isinstance(run, Executor)
    assert run.device == torch.device("meta")
    result = run(
        torch.empty(1, 3, 8, 8, device="meta"), scale=torch.empty(2, device="meta")
    )
    assert result["scores"].device.type == "meta"
    assert tuple(result["scores"].shape) == (1, 2)


def test_arguments_are_checked(bundle: Path, inputs: dict[str, Tensor]) -> None:
    run = load(bundle)
    with pytest.raises(
        ExecutionError, match=r"argument 'x' of type float32\[2, 3, 8, 8\]"
    ):
        run(torch.zeros(2, 3, 8, 8), scale=inputs["scale"])
    with pytest.raises(UsageError, match="the network was captured with a dict of 1"):
        run(inputs["x"])


# Damage


def replaced(path: Path, name: str, content: bytes) -> None:
    """Replace a file as one who knows of the hashes would."""
    (path / name).write_bytes(content)
    record = json.loads((path / "manifest.json").read_text("utf-8"))
    record["files"][name] = hashlib.sha256(content).hexdigest()
    (path / "manifest.json").write_text(json.dumps(record), "utf-8")


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"bundle '{tmp_path / 'nowhere'}': there is no such folder. Give the folder "
        "that `trimtab run` wrote."
    )


def test_a_damaged_file_is_refused(bundle: Path) -> None:
    with (bundle / "weights.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="its content is not what was written"):
        load(bundle)


def test_weights_of_another_network_are_refused(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, file)
    replaced(bundle, "weights.safetensors", file.read_bytes())
    with pytest.raises(ExecutionError) as caught:
        load(bundle)
    assert str(caught.value) == (
        "weight 'conv.weight': the graph needs float32[4,3,3,3], got "
        "torch.float32[1] on cpu (graph 'n'). Give the weights that belong to this "
        "graph."
    )


def edited(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    graph = json.loads((bundle / "graph.json").read_text("utf-8"))
    change(graph)
    replaced(bundle, "graph.json", json.dumps(graph).encode())


@pytest.mark.parametrize(
    "op",
    ["aten.system.default", "os.system", "aten.resize_.default", "builtins.exec.x"],
)
def test_a_graph_calls_nothing_outside_the_vocabulary(bundle: Path, op: str) -> None:
    edited(bundle, lambda graph: graph["nodes"][0].update(op=op))
    with pytest.raises((GraphError, ExecutionError), match="vocabulary"):
        load(bundle)


def test_a_graph_that_breaks_a_rule_is_refused(bundle: Path) -> None:
    edited(bundle, lambda graph: graph["nodes"].reverse())
    with pytest.raises(GraphError, match="must be defined before it is used"):
        load(bundle)


# Machine code


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.compile import compile as compile_module

    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval()
    path = tmp_path / "c.trimtab"
    compile_module(module, (torch.zeros(1, 8),), machine="this").save(path)
    return path


def test_machine_code_made_here_is_run(compiled: Path) -> None:
    network = load(compiled)
    assert isinstance(network, CompiledNetwork)
    x = torch.randn(1, 8)
    expected = load(compiled, device="meta").graph
    assert network.graph == expected
    executor = Executor(network.graph, network.weights)
    torch.testing.assert_close(network(x), executor(x))
    assert measured_latency_s(network) > 0


@pytest.mark.parametrize("trust", [False, True])
def test_foreign_machine_code_is_compiled_again_unless_trusted(
    compiled: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    trust: bool,
) -> None:
    x = torch.randn(1, 8)
    expected = load(compiled)(x)
    record = json.loads((compiled / "program.json").read_text("utf-8"))
    record["target"]["machine"] = "/etc/machine.toml"  # a name is not a file to read
    replaced(compiled, "program.json", json.dumps(record).encode())
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "another user"))
    network = load(compiled, trust=trust)
    torch.testing.assert_close(network(x), expected)
    assert ("compiled again" in caplog.text) is not trust
