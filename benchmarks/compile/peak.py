"""What the processor can do: independent multiply-adds on registers, measured.

A C function of two dozen sums in vectors as wide as the processor has them, compiled
for it by the system's compiler or the one in the package `ziglang`.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trimtab.hardware.load import machine

__all__ = ["peak_flops_per_s"]

_SOURCE = """
typedef float vector __attribute__((vector_size(BYTES)));
float run(long steps, float x) {
    vector sums[SUMS], a, b;
    for (int i = 0; i < BYTES / 4; ++i) { a[i] = x; b[i] = 1 - x; }
    for (int j = 0; j < SUMS; ++j) sums[j] = a + (float)j;
    for (long i = 0; i < steps; ++i) {
#pragma GCC unroll 32
        for (int j = 0; j < SUMS; ++j) sums[j] = sums[j] * a + b;
    }
    vector all = sums[0];
    for (int j = 1; j < SUMS; ++j) all += sums[j];
    float total = 0;
    for (int i = 0; i < BYTES / 4; ++i) total += all[i];
    return total;
}
"""
_STEPS = 5_000_000


def peak_flops_per_s(threads: int, *, trials: int = 7) -> float:
    """Return what that many threads do at once: the sum of the best of each.

    By the CPU time of each thread, which other programs do not stretch.
    """
    core = machine("this").core
    lanes = core.simd_bits // 32
    # The compiler needs registers for the factors.
    sums = min(24, core.vector_registers - 4)
    run = _compiled(core.simd_bits // 8, sums)

    def best(_: int) -> float:
        times = []
        for _ in range(trials):
            start = time.thread_time()
            run(_STEPS, 0.5)
            times.append(time.thread_time() - start)
        return 2.0 * lanes * sums * _STEPS / min(times)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(best, range(threads)))


def _compiled(width_bytes: int, sums: int) -> ctypes._NamedFuncPointer:
    compiler = shutil.which("cc")
    command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.c", Path(folder) / "peak.so"
        source.write_text(_SOURCE, "utf-8")
        flags = "-O3 -march=native -ffp-contract=fast -shared -fPIC"
        defined = [f"-DBYTES={width_bytes}", f"-DSUMS={sums}"]
        subprocess.run(
            [*command, *flags.split(), *defined, str(source), "-o", str(library)],
            check=True,
            stderr=subprocess.PIPE,
        )
        function = ctypes.CDLL(str(library)).run
    function.argtypes, function.restype = (
        [ctypes.c_long, ctypes.c_float],
        ctypes.c_float,
    )
    return function
