from dataclasses import FrozenInstanceError

import pytest

from trimtab.runtime.program import Argument, Call, Program


def test_records_are_frozen_and_comparable():
    call = Call(function="f", arguments=(Argument(kind="input"),), nodes=("n",))
    same = Call(
        function="f", arguments=(Argument(kind="input", index=0),), nodes=("n",)
    )
    assert call == same
    program = Program(
        inputs=(), outputs=(), workspace_bytes=0, zeroed=(), steps=(call,)
    )
    with pytest.raises(FrozenInstanceError):
        program.workspace_bytes = 1  # type: ignore[misc]
