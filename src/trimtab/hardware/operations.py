"""Classes of machine instructions, shared by tables of cores and readers of code."""

from __future__ import annotations

import enum

__all__ = ["ARITHMETIC", "FREE", "LOADS", "STORES", "Operation"]


class Operation(enum.StrEnum):
    """What an instruction does, as far as its cost depends on it.

    An instruction with a folded operand in memory is its operation and a load.
    """

    # Floating point, packed or scalar.
    FMA = "fma"
    MULTIPLY = "multiply"
    ADD = "add"
    MINMAX = "minmax"
    DIVIDE = "divide"
    SQRT = "sqrt"
    RECIPROCAL = "reciprocal"
    ROUND = "round"
    COMPARE = "compare"
    COMPARE_FLAGS = "compare-flags"
    COMPARE_MASK = "compare-mask"
    CONVERT = "convert"
    CONVERT_FROM_INTEGER = "convert-from-integer"
    CONVERT_TO_INTEGER = "convert-to-integer"
    HORIZONTAL = "horizontal"
    DOT = "dot"
    SCALE = "scale"
    # Bits and lanes of vectors.
    LOGIC = "logic"
    BLEND = "blend"
    SELECT = "select"
    SHUFFLE = "shuffle"
    PERMUTE = "permute"
    PERMUTE_LANES = "permute-lanes"
    EXTRACT_LANES = "extract-lanes"
    BROADCAST = "broadcast"
    VECTOR_MOVE = "vector-move"
    CONSTANT = "constant"
    TO_VECTOR = "to-vector"
    FROM_VECTOR = "from-vector"
    MOVE_MASK = "move-mask"
    TEST = "test"
    MASK = "mask"
    # Whole numbers in vectors.
    VECTOR_ADD = "vector-add"
    VECTOR_MULTIPLY = "vector-multiply"
    VECTOR_SHIFT = "vector-shift"
    REDUCE = "reduce"
    # Memory.
    LOAD = "load"
    LOAD_BROADCAST = "load-broadcast"
    LOAD_INTEGER = "load-integer"
    LOAD_MASKED = "load-masked"
    LOAD_INTERLEAVED = "load-interleaved"
    STORE = "store"
    STORE_INTEGER = "store-integer"
    STORE_MASKED = "store-masked"
    STORE_INTERLEAVED = "store-interleaved"
    GATHER = "gather"
    PREFETCH = "prefetch"
    # Whole numbers and control.
    INTEGER = "integer"
    SHIFT = "shift"
    INTEGER_MULTIPLY = "integer-multiply"
    INTEGER_DIVIDE = "integer-divide"
    BITS = "bits"
    CONDITIONAL = "conditional"
    ADDRESS = "address"
    ADDRESS_SLOW = "address-slow"
    MOVE = "move"
    BRANCH = "branch"
    CALL = "call"
    # No port: only a slot of the front end.
    ZERO = "zero"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


FREE = frozenset({Operation.ZERO, Operation.NOTHING})
"""All that needs no port: a register set to zero, a no-operation, a hint."""

LOADS = frozenset(
    {
        Operation.LOAD,
        Operation.LOAD_BROADCAST,
        Operation.LOAD_INTEGER,
        Operation.LOAD_MASKED,
        Operation.LOAD_INTERLEAVED,
        Operation.GATHER,
    }
)
"""What reads memory."""

STORES = frozenset(
    {
        Operation.STORE,
        Operation.STORE_INTEGER,
        Operation.STORE_MASKED,
        Operation.STORE_INTERLEAVED,
    }
)
"""What writes memory."""

ARITHMETIC = frozenset(
    {
        Operation.FMA,
        Operation.MULTIPLY,
        Operation.ADD,
        Operation.MINMAX,
        Operation.DIVIDE,
        Operation.SQRT,
        Operation.RECIPROCAL,
        Operation.ROUND,
        Operation.COMPARE,
        Operation.COMPARE_MASK,
        Operation.CONVERT,
        Operation.HORIZONTAL,
        Operation.DOT,
        Operation.SCALE,
        Operation.LOGIC,
        Operation.BLEND,
        Operation.SELECT,
        Operation.VECTOR_ADD,
        Operation.VECTOR_MULTIPLY,
        Operation.VECTOR_SHIFT,
    }
)
"""What computes with vectors, the reason why a loop is hot."""
