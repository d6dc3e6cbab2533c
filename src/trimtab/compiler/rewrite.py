"""A function of torch.fx without what kernels need not know.

Two things stand in the way of capture and do not change results: switches of gradient
mode, and the opaque operator that `torch.nn.TransformerEncoderLayer` calls in
evaluation.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, fx

__all__ = ["encoder_layer", "records_gradients", "rewrite"]

_SWITCH = torch._C._set_grad_enabled
_ENCODER = torch._transformer_encoder_layer_fwd
_MASK = 18  # place of the mask among its arguments


def rewrite(module: fx.GraphModule) -> fx.GraphModule:
    """Return a module that computes the same through operators that capture takes.

    Args:
        module: not changed; returned itself if there is nothing to do.

    Example:
        >>> class Halved(torch.nn.Module):
        ...     def forward(self, x):
        ...         torch._C._set_grad_enabled(False)
        ...         return x * 0.5
        >>> with torch.no_grad():  # tracing switches, too
        ...     found = rewrite(fx.symbolic_trace(Halved()))
        >>> [node.op for node in found.graph.nodes]
        ['placeholder', 'call_function', 'output']
    """
    if not any(_is_switch(node) or _is_encoder(node) for node in module.graph.nodes):
        return module
    graph = copy.deepcopy(module.graph)
    for node in list(graph.nodes):
        if _is_switch(node):
            graph.erase_node(node)
        elif _is_encoder(node):
            node.target = encoder_layer
    return fx.GraphModule(module, graph)


def records_gradients(module: fx.GraphModule) -> bool:
    """Whether an operator would record gradients when the mode of the caller does."""
    enabled = True
    for node in module.graph.nodes:
        if _is_switch(node):
            enabled = bool(node.args[0])
        elif enabled and node.op.startswith("call_"):
            return True
    return False


def _is_switch(node: fx.Node) -> bool:
    return node.target is _SWITCH and not node.users


def _is_encoder(node: fx.Node) -> bool:
    mask = node.args[_MASK] if len(node.args) > _MASK else node.kwargs.get("mask")
    return node.target == _ENCODER and mask is None


def encoder_layer(
    x: Tensor,
    width: int,
    heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    mask: None = None,
    mask_type: None = None,
) -> Tensor:
    """Return what ``torch._transformer_encoder_layer_fwd`` returns without a mask.

    Its arguments, in its order.

    Args:
        x: shape ``(N, L, width)``.
        width: of the model.
        heads: of the attention.
        qkv_weight: shape ``(3 * width, width)``.
        qkv_bias: shape ``(3 * width,)``.
        out_weight: of the projection behind the attention.
        out_bias: likewise.
        gelu: whether the activation is GELU; ReLU otherwise.
        norm_first: whether each half begins with its normalisation or ends with it.
        eps: of the normalisations.
        norm_weight_1: of the first normalisation.
        norm_bias_1: likewise.
        norm_weight_2: of the second.
        norm_bias_2: likewise.
        weight_1: of the first dense layer.
        bias_1: likewise.
        weight_2: of the second.
        bias_2: likewise.
        mask: None.
        mask_type: None.
    """

    def first_norm(value: Tensor) -> Tensor:
        return F.layer_norm(value, (width,), norm_weight_1, norm_bias_1, eps)

    def second_norm(value: Tensor) -> Tensor:
        return F.layer_norm(value, (width,), norm_weight_2, norm_bias_2, eps)

    def attend(value: Tensor) -> Tensor:
        q, k, v = (
            each.reshape(*x.shape[:2], heads, width // heads).transpose(1, 2)
            for each in F.linear(value, qkv_weight, qkv_bias).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return F.linear(mixed.transpose(1, 2).flatten(2), out_weight, out_bias)

    def feed(value: Tensor) -> Tensor:
        inner = F.linear(value, weight_1, bias_1)
        return F.linear(F.gelu(inner) if gelu else F.relu(inner), weight_2, bias_2)

    if norm_first:
        x = x + attend(first_norm(x))
        return x + feed(second_norm(x))
    x = first_norm(x + attend(x))
    return second_norm(x + feed(x))
