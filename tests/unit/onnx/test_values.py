import numpy as np
import pytest
import torch

from trimtab.errors import OnnxError
from trimtab.onnx.values import integers, number, operand, tensor


def test_numbers_that_have_to_be_known():
    assert integers(np.array([[1], [2]]), "shape") == [1, 2]
    assert number(np.array([0.25]), "ratio") == 0.25
    with pytest.raises(OnnxError, match="shape that follows from data"):
        integers(torch.ones(1), "shape")
    with pytest.raises(OnnxError, match="several"):
        number(np.array([1, 2]), "ratio")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "uint8"])
def test_known_numbers_as_tensors(dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    assert torch.equal(tensor(array), torch.from_numpy(array))


def test_one_number_only_where_the_rank_stays():
    assert operand(np.array(2, np.float32), torch.ones(3)) == 2.0
    assert isinstance(operand(np.ones((1, 1)), torch.ones(3)), torch.Tensor)
    assert isinstance(operand(np.ones(2), torch.ones(2)), torch.Tensor)
    with pytest.raises(OnnxError, match="without one of its inputs"):
        tensor(None)
