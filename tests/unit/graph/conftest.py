import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "graph_networks", Path(__file__).with_name("networks.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
networks_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(networks_module)

CASES = {name: rest for name, *rest in networks_module.cases()}


@pytest.fixture
def networks():
    """The module of small networks."""
    return networks_module


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    """A network in evaluation mode, its arguments and keyword arguments."""
    return CASES[request.param]
