"""Requests made from the description of the interface: answered as it says, never 5xx.

Over real sockets, with a network in place of another's that doubles its input; what
`trimtab serve` and `trimtab edge` show to others is this application.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from trimtab.graph.types import TensorType
from trimtab.runtime.signature import Model, Port

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.result import Ok

from trimtab.runtime.dashboard.app import create
from trimtab.runtime.dashboard.state import State
from trimtab.runtime.inference_routes import Service, add_routes
from trimtab.runtime.web import Server

MODEL = Model(
    name="net",
    inputs=(
        Port(name="x", type=TensorType((1, 3), "float32")),
        Port(name="ids", type=TensorType((1, 2), "int64"), bounds=(9,)),
    ),
    outputs=(Port(name="output", type=TensorType((1, 3), "float32")),),
    most_items=4,
)
ENDLESS = "/events"
INFER = "POST /v2/models/{name}/infer"


async def doubled(asked):
    values = asked.values
    return {"output": 2 * values["x"] + values["ids"].sum(1, keepdim=True)}


def made():
    app = create("a test", lambda: State(status="well"), prefix="test")
    add_routes(app, Service(model=MODEL, answer=doubled, ready=lambda: True))
    return app


SCHEMA = schemathesis.openapi.from_dict(made().openapi())
OPERATIONS = {
    operation.label: operation
    for each in SCHEMA.get_all_operations()
    if isinstance(each, Ok) and (operation := each.ok()).path != ENDLESS
}


@pytest.fixture(scope="module")
def url():
    app = made()
    with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
        yield server.url


@pytest.mark.parametrize(
    ("label", "mode"),
    # Others take nothing, or a name, which no text is too wrong for.
    [*((each, GenerationMode.POSITIVE) for each in OPERATIONS),
     (INFER, GenerationMode.NEGATIVE)],
)  # fmt: skip
def test_what_is_described_is_what_happens(url, label, mode):
    operation = OPERATIONS[label]
    statuses = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=60 if label == INFER else 10, phases=[Phase.generate],
        deadline=None, database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case):
        # Right by its schema is not right yet: shapes, data and names have to agree. So
        # that what is right is accepted is looked at elsewhere.
        response = case.call_and_validate(
            base_url=url, timeout=30,
            excluded_checks=[positive_data_acceptance],
        )  # fmt: skip
        statuses.add(response.status_code)

    check()
    assert statuses
    assert max(statuses) < 500
    assert label != INFER or 422 in statuses  # it came as far as its fields


def test_nothing_is_left_out():
    assert len(OPERATIONS) == 9
    assert ENDLESS not in {each.path for each in OPERATIONS.values()}


def test_a_request_of_its_own_making_is_accepted(url):
    """The description names the inputs: one that fills it in is answered."""
    operation = OPERATIONS[INFER]
    inputs: list[Any] = [
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]},
        {"name": "ids", "shape": [1, 2], "datatype": "INT64", "data": [4, 5]},
    ]
    case = operation.Case(
        path_parameters={"name": "net"}, body={"inputs": inputs},
        media_type="application/json",
    )  # fmt: skip
    response = case.call_and_validate(base_url=url, timeout=30)
    assert response.json()["outputs"][0]["data"] == [11, 13, 15]
