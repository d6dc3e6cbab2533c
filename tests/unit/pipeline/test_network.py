import pytest
import torch
from safetensors.torch import save_file

from trimtab.errors import NetworkNotFoundError, UsageError
from trimtab.pipeline.network import open_graph, open_network

SOURCE = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU())
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


def test_a_zoo_network_brings_its_inputs():
    opened = open_network("zoo:lenet5", device="meta")
    assert tuple(opened.args[0].shape) == (1, 1, 32, 32)


def test_a_file_needs_inputs(source):
    with pytest.raises(UsageError, match="--input 1,3,224,224"):
        open_network(str(source))
    opened = open_network(str(source), inputs=["2,4"])
    assert tuple(opened.module(*opened.args).shape) == (2, 3)


def test_a_file_is_found_beside_the_run_file(source):
    opened = open_network("net.py", inputs=["1,4"], folder=source.parent)
    assert opened.name


def test_weights_are_loaded(source, tmp_path):
    state = {"0.weight": torch.ones(3, 4), "0.bias": torch.zeros(3)}
    save_file(state, tmp_path / "w.safetensors")
    traced = open_graph(
        str(source), inputs=["1,4"], weights=str(tmp_path / "w.safetensors")
    )
    assert torch.equal(traced.weights["0.weight"], torch.ones(3, 4))


def test_named_inputs_go_by_keyword(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, a, b):\n"
        "        return a - b\n"
    )
    graph = open_graph(f"{path}:Net", inputs=["b=1,2", "a=1,2"]).graph
    (node,) = graph.nodes
    assert [str(ref) for ref in node.inputs] == ["%a", "%b"]


def test_nothing_there():
    with pytest.raises(NetworkNotFoundError, match="zoo:"):
        open_graph("nowhere")


def test_tensors_made_in_forward_do_not_stop_inspection(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.t = torch.ones(4)\n"
        "    def forward(self, x):\n"
        "        return x * self.t + torch.tensor([1.0, 2.0, 3.0, 4.0])\n"
    )
    graph = open_graph(str(path), inputs=["1,4"], device="meta").graph
    assert len(graph.constants) == 2
