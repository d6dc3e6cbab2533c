"""Accelerators: an emulated one takes its time; one that is not here is refused."""

import time

import pytest
import torch
from tests.unit.serve.live.nets import tables

from trimtab.errors import UsageError
from trimtab.serve.live.devices import on_device
from trimtab.serve.live.models import described

INPUTS = (torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.int64))


def model(module=True):
    net = tables()
    return described(
        "net", net, ["numbers", "ids"], INPUTS, net if module else None
    )  # fmt: skip


def test_an_emulated_one_takes_its_time_and_computes_nothing():
    net = model()
    call = on_device(net, [0.0, 0.01, 0.02, 0.05])
    begun = time.monotonic()
    found = call(net.drawn(3))
    assert time.monotonic() - begun >= 0.05
    assert [tuple(each.shape) for each in found] == [(3,), (3, 8)]
    assert all(not each.any() for each in found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_here_is_refused():
    with pytest.raises(UsageError, match="no CUDA device"):
        on_device(model(), "cuda")


def test_compiled_code_has_no_accelerator():
    with pytest.raises(UsageError, match=r"compiled code|no CUDA device"):
        on_device(model(module=False), "cuda")


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="it needs a CUDA device: untested without"
)
def test_cuda_gives_the_answers_of_the_host():
    net = model()
    inputs = net.drawn(7)
    expected = net.call(inputs)
    for each, other in zip(on_device(net, "cuda")(inputs), expected, strict=True):
        torch.testing.assert_close(each, other)
