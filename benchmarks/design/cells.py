"""The networks of NAS-Bench-101 and NAS-Bench-201, built from their cells.

From the descriptions in the papers: NAS-Bench-101 (Ying et al., arXiv 1902.09635,
section 2 and appendix A) and NAS-Bench-201 (Dong and Yang, arXiv 2001.00326, section
2).
An operation that is none leaves its edge out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "OPERATIONS_201",
    "NasBench101",
    "NasBench201",
    "cell_201",
    "coded_201",
    "same_cell",
]

OPERATIONS_201 = (
    "skip_connect",
    "none",
    "nor_conv_3x3",
    "nor_conv_1x1",
    "avg_pool_3x3",
)
"""Operations of NAS-Bench-201 in the order of the codes of NASLib's tables."""

_EDGES_201 = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
_CELLS, _STACKS = 5, 3
_WIDTH_201, _WIDTH_101, _MODULES_101 = 16, 128, 3


def coded_201(code: Sequence[int]) -> dict[tuple[int, int], str]:
    """Return the operations of a cell by edge, from a key of NASLib's tables."""
    return {
        edge: OPERATIONS_201[each] for edge, each in zip(_EDGES_201, code, strict=True)
    }


def cell_201(text: str) -> dict[tuple[int, int], str]:
    """Return the operations of a cell by edge, from its text.

    Example:
        >>> cell_201("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")[(0, 3)]
        'skip_connect'
    """
    found = {}
    for node, part in enumerate(text.split("+")):
        for each in filter(None, part.split("|")):
            operation, source = each.split("~")
            found[int(source), node + 1] = operation
    return found


def same_cell(operations: Mapping[tuple[int, int], str]) -> tuple[str, int, int]:
    """Return what cells have in common that make the same network.

    Edges on no way from input to output count for nothing, a skip is its source, and
    what is added up is so in any order; the numbers of convolutions tell a node that is
    read twice from two that are alike.

    Example:
        >>> one = {(0, 1): "nor_conv_1x1", (1, 3): "nor_conv_3x3"}
        >>> two = {(0, 2): "nor_conv_1x1", (2, 3): "nor_conv_3x3", (0, 1): "none"}
        >>> same_cell(one) == same_cell(two)
        True
    """
    used = {edge: name for edge, name in operations.items() if name != "none"}
    ahead, behind = {0}, {3}
    for node in (1, 2, 3):
        if any((source, node) in used for source in ahead):
            ahead.add(node)
    for node in (2, 1, 0):
        if any((node, target) in used for target in behind):
            behind.add(node)
    live = {
        edge: name for edge, name in used.items()
        if edge[0] in ahead and edge[1] in behind
    }  # fmt: skip
    texts = {0: "x"}
    for node in (1, 2, 3):
        parts = sorted(
            texts[source] if name == "skip_connect" else f"{name}({texts[source]})"
            for (source, target), name in live.items()
            if target == node
        )
        texts[node] = parts[0] if len(parts) == 1 else f"[{'+'.join(parts)}]"
    names = list(live.values())
    return texts[3], names.count("nor_conv_3x3"), names.count("nor_conv_1x1")


def _normalised(
    inputs: int, outputs: int, kernel: int, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _operation_201(name: str, width: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return _normalised(width, width, 1 if name == "nor_conv_1x1" else 3)


class _Cell201(nn.Module):
    def __init__(self, operations: Mapping[tuple[int, int], str], width: int) -> None:
        super().__init__()
        made: dict[str, nn.Module] = {}
        self.edges = []
        for (source, node), name in operations.items():
            if name == "none":
                continue
            self.edges.append((source, node))
            made[f"{source}_{node}"] = _operation_201(name, width)
        self.operations = nn.ModuleDict(made)

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x]
        for node in range(1, 4):
            total: Tensor | None = None
            for source in range(node):
                value = nodes[source]
                if (source, node) not in self.edges or value is None:
                    continue
                seen = self.operations[f"{source}_{node}"](value)
                total = seen if total is None else total + seen
            nodes.append(total)
        last = nodes[-1]
        return torch.zeros_like(x) if last is None else last


class _Reduction201(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a = _normalised(inputs, outputs, 3, 2)
        self.b = _normalised(outputs, outputs, 3)
        self.short = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x)) + self.short(x)
        return y


class NasBench201(nn.Module):
    """The network of a cell: three stacks of five, widths 16, 32 and 64.

    Args:
        operations: of the cell, by edge.
        classes: of the last layer.
    """

    def __init__(
        self, operations: Mapping[tuple[int, int], str], classes: int = 10
    ) -> None:
        super().__init__()
        width = _WIDTH_201
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        ]  # fmt: skip
        for stack in range(_STACKS):
            if stack:
                layers.append(_Reduction201(width, 2 * width))
                width *= 2
            layers += [_Cell201(operations, width) for _ in range(_CELLS)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of images (batch, 3, 32, 32)."""
        y: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return y


def _unit(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _pruned(matrix: list[list[int]], operations: list[int]) -> tuple[
    list[list[int]], list[int]
]:  # fmt: skip
    """Return a cell without vertices that are on no way from input to output."""
    count = len(matrix)
    ahead, behind = {0}, {count - 1}
    for vertex in range(count):
        if any(matrix[source][vertex] for source in ahead):
            ahead.add(vertex)
    for vertex in reversed(range(count)):
        if any(matrix[vertex][target] for target in behind):
            behind.add(vertex)
    kept = sorted((ahead & behind) | {0, count - 1})
    return (
        [[matrix[row][column] for column in kept] for row in kept],
        [operations[vertex] for vertex in kept],
    )


def _widths(inputs: int, outputs: int, matrix: list[list[int]]) -> list[int]:
    """Return the channels of each vertex; those before the output share its."""
    count = len(matrix)
    if count == 2:
        return [inputs, outputs]
    widths = [0] * count
    widths[0], widths[-1] = inputs, outputs
    into = [vertex for vertex in range(1, count - 1) if matrix[vertex][count - 1]]
    share, more = divmod(outputs, len(into))
    for place, vertex in enumerate(into):
        widths[vertex] = share + (place < more)
    for vertex in reversed(range(1, count - 1)):
        if not matrix[vertex][count - 1]:
            widths[vertex] = max(
                widths[target]
                for target in range(vertex + 1, count - 1)
                if matrix[vertex][target]
            )
    return widths


class _Module101(nn.Module):
    def __init__(
        self, matrix: list[list[int]], operations: list[int], inputs: int, outputs: int
    ) -> None:
        super().__init__()
        self.matrix = matrix
        count = len(matrix)
        self.widths = _widths(inputs, outputs, matrix)
        self.operations, self.projections = nn.ModuleDict(), nn.ModuleDict()
        for vertex in range(1, count - 1):
            width = self.widths[vertex]
            kind = operations[vertex]
            self.operations[str(vertex)] = (
                nn.MaxPool2d(3, 1, 1)
                if kind == 2
                else _unit(width, width, 2 * kind - 5)
            )
            if matrix[0][vertex]:
                self.projections[str(vertex)] = _unit(inputs, width, 1)
        if matrix[0][count - 1]:
            self.projections[str(count - 1)] = _unit(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.matrix) - 1
        found: dict[int, Tensor] = {}
        for vertex in range(1, last):
            width = self.widths[vertex]
            given = [
                found[source][:, :width]
                for source in range(1, vertex)
                if self.matrix[source][vertex]
            ]
            if self.matrix[0][vertex]:
                given.append(self.projections[str(vertex)](x))
            total = given[0]
            for each in given[1:]:
                total = total + each
            found[vertex] = self.operations[str(vertex)](total)
        joined = [found[each] for each in range(1, last) if self.matrix[each][last]]
        if not joined:
            alone: Tensor = self.projections[str(last)](x)
            return alone
        y = joined[0] if len(joined) == 1 else torch.cat(joined, 1)
        if self.matrix[0][last]:
            y = y + self.projections[str(last)](x)
        return y


class NasBench101(nn.Module):
    """The network of a module: three stacks of three, widths 128, 256 and 512.

    Args:
        code: a key of NASLib's table: the 7 x 7 matrix of edges, then the operations
            (0 input, 1 output, 2 largest of 3 x 3, 3 convolution 1 x 1, 4 of 3 x 3).
        classes: of the last layer.
    """

    def __init__(self, code: Sequence[int], classes: int = 10) -> None:
        super().__init__()
        count = int(((4 * len(code) + 1) ** 0.5 - 1) / 2)
        rows = [list(code[row * count : (row + 1) * count]) for row in range(count)]
        matrix, operations = _pruned(rows, list(code[count * count :]))
        width = _WIDTH_101
        layers: list[nn.Module] = [_unit(3, width, 3)]
        inputs = width
        for stack in range(_STACKS):
            if stack:
                layers.append(nn.MaxPool2d(2, 2))
                width *= 2
            for _ in range(_MODULES_101):
                layers.append(_Module101(matrix, operations, inputs, width))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of images (batch, 3, 32, 32)."""
        y: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return y
