"""The operators of the comparison: as modules of PyTorch and as functions of TVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["WORKLOADS", "Workload"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One operator at fixed shapes.

    Attributes:
        name: of the operator.
        title: for people.
        kind: a convolution (batch 1; depthwise where `groups` says so), the product
            with a constant matrix, or of two batches of variable matrices.
        inputs: channels, or length of the sums.
        outputs: channels, or columns.
        size: height and width of the image, or rows.
        kernel: height and width of the window.
        stride: of the window.
        groups: of channels.
        batch: matrices.
    """

    name: str
    title: str
    kind: Literal["conv2d", "matmul", "batch_matmul"]
    inputs: int
    outputs: int
    size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    batch: int = 1

    @property
    def padding(self) -> int:
        """Zeros on each side: the image keeps its size at stride 1."""
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        """Height and width of the result of a convolution."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def flops(self) -> int:
        """Two for each multiply-add."""
        if self.kind != "conv2d":
            return 2 * self.batch * self.size * self.inputs * self.outputs
        depth = self.inputs // self.groups * self.kernel**2
        return 2 * self.outputs * self.out_size**2 * depth

    @property
    def weight_bytes(self) -> int:
        """Of the constant operand in float32; 0 where there is none."""
        if self.kind == "batch_matmul":
            return 0
        depth = self.inputs // self.groups * self.kernel**2
        return 4 * self.outputs * depth

    def module(self) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
        """Return the operator as a module of PyTorch, and inputs."""
        import torch
        from torch import nn

        torch.manual_seed(0)
        if self.kind == "conv2d":
            conv = nn.Conv2d(
                self.inputs,
                self.outputs,
                self.kernel,
                stride=self.stride,
                padding=self.padding,
                groups=self.groups,
                bias=False,
            )
            return conv.eval(), (torch.randn(1, self.inputs, self.size, self.size),)
        if self.kind == "matmul":
            dense = nn.Linear(self.inputs, self.outputs, bias=False)
            return dense.eval(), (torch.randn(self.size, self.inputs),)

        class Product(nn.Module):
            def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
                return a @ b

        return Product().eval(), (
            torch.randn(self.batch, self.size, self.inputs),
            torch.randn(self.batch, self.inputs, self.outputs),
        )

    def function(self) -> Any:
        """Return the operator as a TIR function, its weights free of layout.

        Images are NHWC, on which MetaSchedule is faster than on NCHW, and come with
        their zeros around them, as ours do.
        """
        from tvm import te

        if self.kind == "conv2d":
            tensors = self._convolution(te)
        elif self.kind == "matmul":
            a = te.placeholder((self.size, self.inputs), name="A")
            b = te.placeholder((self.inputs, self.outputs), name="B")
            k = te.reduce_axis((0, self.inputs), name="k")
            c = te.compute(
                (self.size, self.outputs),
                lambda i, j: te.sum(a[i, k] * b[k, j], axis=k),
                name="C",
                attrs={"layout_free_placeholders": [b]},
            )
            tensors = [a, b, c]
        else:
            a = te.placeholder((self.batch, self.size, self.inputs), name="A")
            b = te.placeholder((self.batch, self.inputs, self.outputs), name="B")
            k = te.reduce_axis((0, self.inputs), name="k")
            c = te.compute(
                (self.batch, self.size, self.outputs),
                lambda n, i, j: te.sum(a[n, i, k] * b[n, k, j], axis=k),
                name="C",
            )
            tensors = [a, b, c]
        return te.create_prim_func(list(tensors))

    def _convolution(self, te: Any) -> Sequence[Any]:
        padded, stride, out = self.size + 2 * self.padding, self.stride, self.out_size
        y = te.reduce_axis((0, self.kernel), name="y")
        x = te.reduce_axis((0, self.kernel), name="x")
        image = te.placeholder((1, padded, padded, self.inputs), name="X")
        if self.groups == 1:
            window = (self.kernel, self.kernel)
            filters = te.placeholder((*window, self.inputs, self.outputs), name="W")
            c = te.reduce_axis((0, self.inputs), name="c")
            axes = [y, x, c]

            def value(n: Any, i: Any, j: Any, o: Any) -> Any:
                pixel = image[n, i * stride + y, j * stride + x, c]
                return te.sum(pixel * filters[y, x, c, o], axis=axes)
        else:
            assert self.groups == self.inputs == self.outputs, "depthwise only"
            filters = te.placeholder((self.kernel, self.kernel, self.inputs), name="W")

            def value(n: Any, i: Any, j: Any, o: Any) -> Any:
                pixel = image[n, i * stride + y, j * stride + x, o]
                return te.sum(pixel * filters[y, x, o], axis=[y, x])

        result = te.compute(
            (1, out, out, self.outputs),
            value,
            name="Y",
            attrs={"layout_free_placeholders": [filters]},
        )
        return [image, filters, result]


def _conv(name: str, inputs: int, outputs: int, size: int, **more: int) -> Workload:
    kernel, stride = more.get("kernel", 3), more.get("stride", 1)
    step = f", stride {stride}" if stride > 1 else ""
    kind = "depthwise" if more.get("groups", 1) > 1 else "conv"
    return Workload(
        name=name,
        title=f"{kind} {kernel}x{kernel} {inputs} to {outputs}, {size}x{size}{step}",
        kind="conv2d",
        inputs=inputs,
        outputs=outputs,
        size=size,
        **{"kernel": 3, **more},
    )


_ALL = (
    _conv("conv3x3_56", 64, 64, 56),
    _conv("conv3x3_28", 128, 128, 28),
    _conv("conv3x3_14", 256, 256, 14),
    _conv("conv3x3_7", 512, 512, 7),
    _conv("conv1x1_56", 256, 64, 56, kernel=1),
    _conv("conv1x1_14", 256, 1024, 14, kernel=1),
    _conv("conv3x3_s2", 128, 128, 56, stride=2),
    _conv("depthwise_56", 128, 128, 56, groups=128),
    Workload(
        name="dense_1",
        title="dense 2048 to 1000, batch 1",
        kind="matmul",
        inputs=2048,
        outputs=1000,
        size=1,
    ),
    Workload(
        name="matmul_512",
        title="matmul 512, constant matrix",
        kind="matmul",
        inputs=512,
        outputs=512,
        size=512,
    ),
    Workload(
        name="matmul_1024",
        title="matmul 1024, constant matrix",
        kind="matmul",
        inputs=1024,
        outputs=1024,
        size=1024,
    ),
    Workload(
        name="batch_matmul",
        title="8 products 128x64 by 64x128, both variable",
        kind="batch_matmul",
        inputs=64,
        outputs=128,
        size=128,
        batch=8,
    ),
)
WORKLOADS = {each.name: each for each in _ALL}
"""By name; none of them, and none of their shapes, is in any calibration."""
