"""A host has workers."""

import pytest

from trimtab.errors import UsageError
from trimtab.serve.curves import named
from trimtab.serve.host import Host


def test_a_host_without_workers_is_refused():
    assert Host(curve=named("ncf"), workers=1).accelerator is None
    with pytest.raises(UsageError, match="at least one"):
        Host(curve=named("ncf"), workers=0)
