"""ONNX operators that are products of matrices."""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, tensor

__all__: list[str] = []


@translates("MatMul")
def _matmul(_: Operation, a: Value, b: Value) -> Tensor:
    return torch.matmul(tensor(a), tensor(b))


@translates("Gemm")
def _gemm(operation: Operation, a: Value, b: Value, c: Value = None) -> Tensor:
    first, second = tensor(a), tensor(b)
    alpha, beta = operation.get("alpha", 1.0), operation.get("beta", 1.0)
    if operation.get("transA", 0):
        first = first.t()
    plain = alpha == 1.0 and (c is None or beta == 1.0)
    if operation.get("transB", 0) and plain and (c is None or tensor(c).dim() == 1):
        bias = None if c is None else tensor(c)
        if bias is None or bias.shape[0] == second.shape[0]:
            return F.linear(first, second, bias)
    if operation.get("transB", 0):
        second = second.t()
    if c is None:
        product = torch.mm(first, second)
        return product if alpha == 1.0 else product * alpha
    return torch.addmm(tensor(c), first, second, beta=beta, alpha=alpha)


@translates("Einsum")
def _einsum(operation: Operation, *values: Value) -> Tensor:
    equation = operation.get("equation")
    text = equation.decode() if isinstance(equation, bytes) else equation
    return torch.einsum(text, *map(tensor, values))


_ATTENTION: Final = frozenset(
    [
        "is_causal",
        "kv_num_heads",
        "q_num_heads",
        "scale",
        "softcap",
        "softmax_precision",
        "qk_matmul_output_mode",
    ]
)


@translates("Attention")
def _attention(
    operation: Operation,
    query: Value,
    key: Value,
    value: Value,
    mask: Value = None,
    *past: Value,
) -> Any:
    """Scaled dot-product attention, heads apart (4-D) or joined (3-D)."""
    if operation.outputs > 1 or any(each is not None for each in past):
        raise refused(operation, "it keeps or shows more than its result")
    unknown = sorted(set(operation.attributes) - _ATTENTION)
    if unknown:
        raise refused(operation, f"it has {', '.join(unknown)}")
    if operation.get("softcap", 0.0):
        raise refused(operation, "it caps the scores")
    q: Any
    k: Any
    v: Any
    q, k, v = tensor(query), tensor(key), tensor(value)
    joined = q.dim() == 3
    if joined:
        heads = operation.get("q_num_heads", 1), operation.get("kv_num_heads", 1)
        q = q.unflatten(2, (heads[0], -1)).transpose(1, 2)
        k = k.unflatten(2, (heads[1], -1)).transpose(1, 2)
        v = v.unflatten(2, (heads[1], -1)).transpose(1, 2)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = (each.repeat_interleave(groups, 1) for each in (k, v))
    added = None if mask is None else tensor(mask)
    causal = bool(operation.get("is_causal", 0))
    if causal and (added is not None or q.shape[2] != k.shape[2]):
        raise refused(operation, "it is causal, and has a mask or more keys beside")
    found = F.scaled_dot_product_attention(
        q, k, v, attn_mask=added, is_causal=causal, scale=operation.get("scale")
    )
    return found.transpose(1, 2).flatten(2) if joined else found
