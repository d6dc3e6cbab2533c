"""The engines: each gives calls of a network, the fastest of its variants is timed.

A call has its inputs in memory and leaves its outputs in memory. Where an engine can be
used in several ways (memory layouts, threads that spin or sleep), it gives all of them
and the worker keeps the fastest: a peer is shown at its best.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch

from benchmarks.compile.networks import Prepared, flat
from benchmarks.jobs import cache_folder

__all__ = ["ENGINES", "Engine", "Variant"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to use an engine.

    Attributes:
        call: runs the network once.
        outputs: of the last call.
    """

    call: Callable[[], Any]
    outputs: Callable[[Any], tuple[torch.Tensor, ...]] = flat


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A network in an engine.

    Attributes:
        variants: by name.
        version: of the engine.
        notes: for the results, such as the time of compilation.
    """

    variants: Mapping[str, Variant]
    version: str
    notes: Mapping[str, Any] = field(default_factory=dict)


def eager(network: Prepared, threads: int) -> Engine:
    """PyTorch as it is, in both memory layouts of images."""
    torch.set_num_threads(threads)
    module, inputs = network.module, network.inputs
    variants = {"contiguous": Variant(call=lambda: module(*inputs))}
    if all(each.ndim == 4 for each in inputs):
        import copy

        last = copy.deepcopy(module)
        last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        given = tuple(
            each.contiguous(memory_format=torch.channels_last) for each in inputs
        )
        variants["channels_last"] = Variant(call=lambda: last(*given))
    return Engine(variants=variants, version=torch.__version__)


def inductor(network: Prepared, threads: int) -> Engine:
    """torch.compile with frozen weights, compiled anew for each number of threads."""
    import time

    import torch._inductor.config as config

    torch.set_num_threads(threads)
    folder = cache_folder("compile") / "inductor" / f"{network.name}-{threads}"
    fresh = not folder.exists()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    config.freezing = True
    compiled = torch.compile(network.module)
    start = time.perf_counter()
    compiled(*network.inputs)
    spent = time.perf_counter() - start
    notes = {"compile_s" if fresh else "compile_from_cache_s": spent}
    return Engine(
        variants={"frozen": Variant(call=lambda: compiled(*network.inputs))},
        version=torch.__version__,
        notes=notes,
    )


def onnxruntime(network: Prepared, threads: int) -> Engine:
    """ONNX Runtime, its threads spinning or not; arrays bound once."""
    import onnxruntime as ort

    variants = {}
    for spinning in ("1", "0") if threads > 1 else ("1",):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        session = ort.InferenceSession(
            str(network.onnx), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        for index, each in enumerate(network.inputs):
            binding.bind_cpu_input(f"x{index}", each.numpy())
        for each in session.get_outputs():
            binding.bind_output(each.name, "cpu")
        variants["spinning" if spinning == "1" else "sleeping"] = Variant(
            call=functools.partial(session.run_with_iobinding, binding),
            outputs=functools.partial(_bound, binding),
        )
    return Engine(variants=variants, version=ort.__version__)


def _bound(binding: Any, _: None) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(each) for each in binding.copy_outputs_to_cpu())


def openvino(network: Prepared, threads: int) -> Engine:
    """OpenVINO, one stream, float32 forced: its own choice may be bfloat16."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(str(network.onnx)),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
        },
    )
    request = compiled.create_infer_request()
    for index, each in enumerate(network.inputs):
        request.set_input_tensor(index, ov.Tensor(each.numpy(), shared_memory=True))
    count = len(compiled.outputs)
    return Engine(
        variants={
            "latency": Variant(
                call=request.infer,
                outputs=lambda _: tuple(
                    torch.from_numpy(request.get_output_tensor(index).data.copy())
                    for index in range(count)
                ),
            )
        },
        version=ov.__version__.split("-")[0],
    )


def ours(network: Prepared, threads: int) -> Engine:
    """The network compiled by trimtab."""
    import time

    import trimtab
    from benchmarks.compile import adapter

    torch.set_num_threads(threads)
    start = time.perf_counter()
    compiled, notes = adapter.compiled(network.module, network.inputs, threads)
    spent = time.perf_counter() - start
    return Engine(
        variants={"compiled": Variant(call=lambda: compiled(*network.inputs))},
        version=trimtab.__version__,
        notes={"compile_s": spent, **notes},
    )


ENGINES: Mapping[str, Callable[[Prepared, int], Engine]] = {
    "eager": eager,
    "torch.compile": inductor,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "ours": ours,
}
"""In the order of the tables; each runs in a process of its own."""
