"""Loops of known instructions, for the vectors of a machine: what probes run.

Each shows one thing that a table of a core says: how many of an instruction start a
cycle, how long one waits for another, what gets in the way of what. None is a kernel of
a network.
"""

from __future__ import annotations

from trimtab.hardware.machine import Machine

__all__ = ["CLOCK_STEPS", "clock", "loops", "streams"]

CLOCK_STEPS = 256
"""Dependent instructions of one cycle in the loop that shows the clock."""

_COPIES = 8
# Of a pattern in a body, so that the jump at its end does not count.


def loops(machine: Machine) -> dict[str, tuple[str, ...]]:
    """Return loops that show what a core does, by name, for its vectors.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> loops(machine("milan"))["multiply-add, one chain"][0]
        'vfmadd231ps %ymm14, %ymm15, %ymm0'
    """
    if machine.core.isa.startswith("armv"):
        return _arm()
    if machine.core.simd_bits < 256:
        return _sse()
    return _avx("zmm" if machine.core.simd_bits == 512 else "ymm")


def _avx(vector: str) -> dict[str, tuple[str, ...]]:
    size = {"ymm": 32, "zmm": 64}[vector]

    def fma(target: int, a: int = 14, b: int = 15) -> str:
        return f"vfmadd231ps %{vector}{a}, %{vector}{b}, %{vector}{target}"

    def three(name: str, target: int) -> str:
        return f"{name} %{vector}14, %{vector}15, %{vector}{target}"

    def chain(name: str) -> tuple[str, ...]:
        return (f"{name} %{vector}0, %{vector}15, %{vector}0",) * 8 * _COPIES

    def load(place: int, target: int) -> str:
        return f"vmovups {size * place}(%rdi), %{vector}{target}"

    def store(place: int, source: int = 15) -> str:
        return f"vmovups %{vector}{source}, {size * place}(%rdi)"

    def spread(place: int, target: int) -> str:
        return f"vbroadcastss {4 * place}(%rdi), %{vector}{target}"

    def tile(rows: int, columns: int) -> list[str]:
        lines = [load(16 + column, 15 - column) for column in range(columns)]
        for row in range(rows):
            lines.append(spread(row, 15 - columns))
            lines += [
                fma(row * columns + column, 15 - column, 15 - columns)
                for column in range(columns)
            ]
        return lines

    spilled = [
        line
        for number in range(4)
        for line in (load(number, number), fma(number), store(number, number))
    ]
    return {
        "multiply-add, independent": (*(fma(n) for n in range(12)),) * _COPIES,
        "multiply-add, one chain": (fma(0),) * 8 * _COPIES,
        "multiply, independent": (*(three("vmulps", n) for n in range(8)),) * _COPIES,
        "multiply, one chain": chain("vmulps"),
        "add, independent": (*(three("vaddps", n) for n in range(8)),) * _COPIES,
        "add, one chain": chain("vaddps"),
        "maximum, independent": (*(three("vmaxps", n) for n in range(8)),) * _COPIES,
        "maximum, one chain": chain("vmaxps"),
        "load": (*(load(n, n % 8) for n in range(16)),) * 4,
        "broadcast load": (*(spread(n, n % 8) for n in range(16)),) * 4,
        "integer load": (*(f"movq {8 * n}(%rdi), %rcx" for n in range(16)),) * 4,
        "store": (*(store(n) for n in range(16)),) * 4,
        "two loads and a store": (
            *(
                line
                for n in range(16)
                for line in (load(16 + n, n % 4), load(17 + n, 4 + n % 4), store(n))
            ),
        )
        * 2,
        "two multiply-adds and a store": (
            *(
                line
                for n in range(12)
                for line in (fma(2 * n % 12), fma((2 * n + 1) % 12), store(n))
            ),
        )
        * 2,
        "store and load of one place": (store(0, 0), load(0, 0)) * _COPIES,
        "sum in memory": (load(0, 0), fma(0), store(0, 0)) * _COPIES,
        "register tile 6 x 2": (*tile(6, 2),) * _COPIES,
        "register tile 4 x 3": (*tile(4, 3),) * _COPIES,
        "four spilled sums": (*spilled,) * _COPIES,
    }


def _sse() -> dict[str, tuple[str, ...]]:
    def two(name: str, target: int, source: int = 15) -> str:
        return f"{name} %xmm{source}, %xmm{target}"

    def load(place: int, target: int) -> str:
        return f"movups {16 * place}(%rdi), %xmm{target}"

    def store(place: int, source: int = 15) -> str:
        return f"movups %xmm{source}, {16 * place}(%rdi)"

    return {
        "multiply, independent": (*(two("mulps", n) for n in range(12)),) * _COPIES,
        "multiply, one chain": (two("mulps", 0),) * 8 * _COPIES,
        "add, independent": (*(two("addps", n) for n in range(12)),) * _COPIES,
        "add, one chain": (two("addps", 0),) * 8 * _COPIES,
        "maximum, independent": (*(two("maxps", n) for n in range(12)),) * _COPIES,
        "load": (*(load(n, n % 8) for n in range(16)),) * 4,
        "integer load": (*(f"movq {8 * n}(%rdi), %rcx" for n in range(16)),) * 4,
        "store": (*(store(n) for n in range(16)),) * 4,
        "store and load of one place": (store(0, 0), load(0, 0)) * _COPIES,
    }


def _arm() -> dict[str, tuple[str, ...]]:
    def fma(target: int) -> str:
        return f"fmla v{target}.4s, v30.4s, v31.4s"

    def three(name: str, target: int) -> str:
        return f"{name} v{target}.4s, v30.4s, v31.4s"

    def chain(name: str) -> tuple[str, ...]:
        return (f"{name} v0.4s, v0.4s, v31.4s",) * 8 * _COPIES

    def load(place: int, target: int) -> str:
        return f"ldr q{target}, [x0, #{16 * place}]"

    def store(place: int, source: int = 31) -> str:
        return f"str q{source}, [x0, #{16 * place}]"

    return {
        "multiply-add, independent": (*(fma(n) for n in range(24)),) * 4,
        "multiply-add, one chain": (fma(0),) * 8 * _COPIES,
        "multiply, independent": (*(three("fmul", n) for n in range(16)),) * 4,
        "multiply, one chain": chain("fmul"),
        "add, independent": (*(three("fadd", n) for n in range(16)),) * 4,
        "add, one chain": chain("fadd"),
        "maximum, independent": (*(three("fmaxnm", n) for n in range(16)),) * 4,
        "load": (*(load(n, n % 8) for n in range(16)),) * 4,
        "integer load": (*(f"ldr x1, [x0, #{8 * n}]" for n in range(16)),) * 4,
        "store": (*(store(n) for n in range(16)),) * 4,
        "two multiply-adds and a store": (
            *(
                line
                for n in range(12)
                for line in (fma(2 * n % 24), fma((2 * n + 1) % 24), store(n))
            ),
        )
        * 2,
        "store and load of one place": (store(0, 0), load(0, 0)) * _COPIES,
        "sum in memory": (load(0, 0), fma(0), store(0, 0)) * _COPIES,
    }


def clock(machine: Machine) -> tuple[str, ...]:
    """Return instructions that wait for each other, one cycle each.

    Rotations on x86: some processors add small numbers while they rename registers,
    several a cycle.
    """
    arm = machine.core.isa.startswith("armv")
    return ("add x1, x1, #1" if arm else "rorq $7, %rax",) * CLOCK_STEPS


def streams(machine: Machine) -> tuple[dict[str, tuple[str, ...]], int]:
    """Return loads, and stores, of consecutive vectors; and the bytes they cover.

    With vectors of 512 bits those of 256 are there, too: Zen 5 brings lines from level
    2 half as fast where one load takes a whole line as where two do, and kernels, which
    do more than load, get as much as these.
    """
    if machine.core.isa.startswith("armv"):
        return {
            way: tuple(f"{move} q{n % 8}, [x0, #{16 * n}]" for n in range(32))
            for way, move in (("load", "ldr"), ("store", "str"))
        }, 32 * 16
    bits = min(max(machine.core.simd_bits, 128), 512)
    covered = 32 * bits // 8
    found = {}
    for width in {bits, min(bits, 256)}:
        name = {512: "zmm", 256: "ymm"}.get(width, "xmm")
        move = "vmovups" if width >= 256 else "movups"
        size = width // 8
        whole = "" if width == bits else f" {width}"
        places = range(covered // size)
        found[f"load{whole}"] = tuple(
            f"{move} {size * n}(%rdi), %{name}{n % 8}" for n in places
        )
        found[f"store{whole}"] = tuple(
            f"{move} %{name}{n % 8}, {size * n}(%rdi)" for n in places
        )
    return found, covered
