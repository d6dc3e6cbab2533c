from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.zoo.vision import digits_cnn
from trimtab.zoo.weights import load_weights


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.table.weight


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_state_dict_comes_back_bit_for_bit(tmp_path: Path) -> None:
    source, target = digits_cnn(), digits_cnn()
    file = tmp_path / "digits.safetensors"
    save_file(_state(source), file)
    load_weights(target, file)
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_half_precision_is_converted(tmp_path: Path) -> None:
    layer = nn.Linear(2, 1)
    file = tmp_path / "half.safetensors"
    save_file({"weight": torch.full((1, 2), 0.5).half(), "bias": torch.ones(1)}, file)
    load_weights(layer, file)
    assert layer.weight.dtype is torch.float32
    assert layer.weight.tolist() == [[0.5, 0.5]]


def test_tied_weights_need_one_name(tmp_path: Path) -> None:
    source, target = _Tied(), _Tied()
    file = tmp_path / "tied.safetensors"
    save_model(source, str(file))
    load_weights(target, file)
    assert torch.equal(target.out.weight, source.table.weight)
    assert target.out.weight is target.table.weight


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    network = digits_cnn()
    state = {k: v for k, v in _state(network).items() if "num_batches" not in k}
    file = tmp_path / "old.safetensors"
    save_file(state, file)
    load_weights(network, file)


def test_all_disagreements_stand_in_one_message_and_nothing_is_loaded(
    tmp_path: Path,
) -> None:
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    state = {f"{i}.weight": torch.zeros(2, 2) for i in range(3)}
    state |= {"0.bias": torch.zeros(3), "1.bias": torch.zeros(2, dtype=torch.int64)}
    state |= {f"head.{i}": torch.zeros(1) for i in range(5)}
    file = tmp_path / "other.safetensors"
    save_file(state, file)
    before = _state(network)
    with pytest.raises(UsageError) as caught:
        load_weights(network, file)
    assert caught.value.rule == (
        "missing keys (3 of 8): 2.bias, 3.weight, 3.bias; "
        "unexpected keys (5): head.0, head.1, head.2 and 2 more; "
        "wrong shapes (1): 0.bias (3,) instead of (2,); "
        "wrong number types (1): 1.bias torch.int64 instead of torch.float32"
    )
    assert caught.value.where == str(file)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())


def test_absent_file_and_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load_weights(nn.ReLU(), tmp_path / "no.safetensors")
    with pytest.raises(UsageError, match=r"other formats can run code .*Convert"):
        load_weights(nn.ReLU(), tmp_path / "weights.pth")


def test_a_network_on_meta_has_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "line.safetensors"
    save_file({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match="has no memory"):
        load_weights(nn.Linear(1, 1, device="meta"), file)


_HEADER = b'{"weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04}q\x00.",  # a pickle
        struct.pack("<Q", 2**63),  # a header without end
        struct.pack("<Q", len(_HEADER)) + _HEADER,  # numbers are missing
        struct.pack("<Q", len(_HEADER)) + _HEADER.replace(b"[0,4]", b"[0,9]") + b"1234",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "hostile.safetensors"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="damaged or no safetensors file") as caught:
        load_weights(nn.Linear(1, 1), file)
    assert caught.value.where == str(file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "any.safetensors"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        load_weights(nn.Linear(1, 1), file)
