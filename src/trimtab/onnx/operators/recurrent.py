"""ONNX's recurrent layers: PyTorch's, with the gates in its order."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, tensor

__all__: list[str] = []

_ORDER: Final = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
# Gates of ONNX where PyTorch has them: i f g o of i o f c, r z n of z r h.
_USUAL: Final = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


@translates("LSTM", "GRU", "RNN")
def _recurrent(
    operation: Operation,
    x: Value,
    w: Value,
    r: Value,
    b: Value = None,
    lengths: Value = None,
    h: Value = None,
    c: Value = None,
    peepholes: Value = None,
) -> Any:
    """Return all states (T, directions, N, H), the last state, and LSTM's cell."""
    batch_first = bool(operation.get("layout", 0))
    read = tensor(x).transpose(0, 1) if batch_first else tensor(x)
    direction = _text(operation.get("direction", b"forward"))
    _require_usual(operation, read, lengths, peepholes)
    weights = [
        _flat_weights(operation, index, tensor(w), tensor(r), b)
        for index in range(2 if direction == "bidirectional" else 1)
    ]
    count, hidden = len(weights), int(operation.get("hidden_size"))
    steps, batch = read.shape[0], read.shape[1]
    states = [
        read.new_zeros((count, batch, hidden))
        if each is None
        else tensor(each).transpose(0, 1)
        if batch_first
        else tensor(each)
        for each in ((h, c) if operation.kind == "LSTM" else (h,))
    ]
    if direction == "reverse":
        read = torch.flip(read, [0])
    found: tuple[Tensor, ...]
    if operation.kind == "GRU" and not operation.get("linear_before_reset", 0):
        found = _gru_reset_first(read, states[0], weights)
    else:
        found = _run(operation, read, states, [x for each in weights for x in each])
    output, *last = found
    output = output.reshape(steps, batch, count, hidden).transpose(1, 2)
    if direction == "reverse":
        output = torch.flip(output, [0])
    if batch_first:
        output = output.permute(2, 0, 1, 3)
        last = [each.transpose(0, 1) for each in last]
    return (output, *last)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _require_usual(
    operation: Operation, x: Tensor, lengths: Value, peepholes: Value
) -> None:
    names = [_text(each) for each in operation.get("activations", [])]
    usual = _USUAL.get(operation.kind, tuple(names[:1]))
    if names and tuple(names) not in (usual, usual * 2):
        raise refused(operation, f"its activations are {', '.join(names)}")
    if operation.kind == "RNN" and (names or ["Tanh"])[0] not in ("Tanh", "Relu"):
        raise refused(operation, f"its activation is {names[0]}")
    if peepholes is not None or operation.get("clip", 0.0):
        raise refused(operation, "it has peepholes or clips")
    if operation.get("input_forget", 0):
        raise refused(operation, "it couples its gates")
    full = isinstance(lengths, np.ndarray) and bool((lengths == x.shape[0]).all())
    if lengths is not None and not full:
        raise refused(operation, "its sequences have lengths of their own")


def _flat_weights(
    operation: Operation, direction: int, w: Tensor, r: Tensor, b: Value
) -> list[Tensor]:
    """Return the weights of a direction as PyTorch has them."""
    order = _ORDER[operation.kind]

    def ordered(values: Tensor) -> Tensor:
        if len(order) == 1:
            return values
        gates = torch.chunk(values, len(order), 0)
        return torch.cat([gates[each] for each in order])

    if b is None:
        size = w.shape[1]
        zeros = w.new_zeros(size)
        return [ordered(w[direction]), ordered(r[direction]), zeros, zeros]
    one, two = torch.chunk(tensor(b)[direction], 2)
    return [ordered(w[direction]), ordered(r[direction]), ordered(one), ordered(two)]


def _run(
    operation: Operation, x: Tensor, states: list[Tensor], weights: list[Tensor]
) -> tuple[Tensor, ...]:
    """Return outputs and last states of PyTorch's layer."""
    activation = _text(operation.get("activations", [b"Tanh"])[0])
    functions: dict[str, Any] = {
        "LSTM": torch.ops.aten.lstm.input,
        "GRU": torch.ops.aten.gru.input,
        "RNN": torch.ops.aten.rnn_relu.input
        if activation == "Relu"
        else torch.ops.aten.rnn_tanh.input,
    }
    state = states if operation.kind == "LSTM" else states[0]
    found: tuple[Tensor, ...] = functions[operation.kind](
        x, state, weights, True, 1, 0.0, False, len(weights) == 8, False
    )
    return found


def _gru_reset_first(
    x: Tensor, state: Tensor, weights: list[list[Tensor]]
) -> tuple[Tensor, Tensor]:
    """Return outputs and last states of a GRU that resets ahead of its product."""
    outputs, last = [], []
    for direction, (w, r, bias_w, bias_r) in enumerate(weights):
        h = state[direction]
        size = h.shape[1]
        gates = torch.nn.functional.linear(x, w, bias_w)
        found = []
        for step in range(x.shape[0]):
            at = gates[x.shape[0] - 1 - step if direction else step]
            both = at[:, : 2 * size] + torch.nn.functional.linear(
                h, r[: 2 * size], bias_r[: 2 * size]
            )
            reset, update = torch.sigmoid(both).chunk(2, 1)
            new = torch.tanh(
                at[:, 2 * size :]
                + torch.nn.functional.linear(
                    reset * h, r[2 * size :], bias_r[2 * size :]
                )
            )
            h = (1 - update) * new + update * h
            found.append(h)
        outputs.append(torch.stack(found[::-1] if direction else found))
        last.append(h)
    return torch.cat(outputs, 2), torch.stack(last)
