import pytest
import torch
from benchmarks.compile.workloads import WORKLOADS


def test_flops_and_weights_of_a_convolution():
    conv = WORKLOADS["conv3x3_56"]
    assert conv.flops == 2 * 64 * 56 * 56 * 64 * 3 * 3
    assert conv.weight_bytes == 4 * 64 * 64 * 3 * 3
    strided = WORKLOADS["conv3x3_s2"]
    assert strided.flops == 2 * 128 * 28 * 28 * 128 * 3 * 3
    depthwise = WORKLOADS["depthwise_56"]
    assert depthwise.flops == 2 * 128 * 56 * 56 * 3 * 3
    assert depthwise.weight_bytes == 4 * 128 * 3 * 3


def test_flops_and_weights_of_products():
    assert WORKLOADS["dense_1"].flops == 2 * 2048 * 1000
    assert WORKLOADS["matmul_512"].weight_bytes == 4 * 512 * 512
    assert WORKLOADS["batch_matmul"].flops == 2 * 8 * 128 * 64 * 128
    assert WORKLOADS["batch_matmul"].weight_bytes == 0


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_the_module_computes_the_shape_that_the_flops_are_of(name):
    workload = WORKLOADS[name]
    module, inputs = workload.module()
    with torch.no_grad():
        outputs = module(*inputs)
    depth = workload.inputs // workload.groups * workload.kernel**2
    assert outputs.numel() * 2 * depth == workload.flops
    parameters = sum(each.numel() for each in module.parameters())
    assert 4 * parameters == workload.weight_bytes


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_the_function_of_tvm_is_of_the_same_size(name):
    tvm = pytest.importorskip("tvm", reason="apache-tvm is missing: extra `compile`")
    workload = WORKLOADS[name]
    function = workload.function()
    arguments = tvm.s_tir.meta_schedule.arg_info.ArgInfo.from_prim_func(function)
    shapes = [[int(size) for size in each.shape] for each in arguments]
    module, inputs = workload.module()
    with torch.no_grad():
        outputs = module(*inputs)
    assert torch.Size(shapes[-1]).numel() == outputs.numel()
    if workload.weight_bytes:
        assert 4 * torch.Size(shapes[1]).numel() == workload.weight_bytes
        assert [int(each) for each in function.attrs["layout_free_buffers"]] == [1]
