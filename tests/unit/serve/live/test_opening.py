"""From what is wanted to an engine at work."""

import contextlib
from dataclasses import replace

import pytest
from tests.unit.serve.live.test_engine import query, right, settings

from trimtab.errors import TrimtabError
from trimtab.serve.capacity import Target
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.live.opening import Wanted, opened
from trimtab.serve.schedule import Schedule
from trimtab.serve.tuned import Tuned

TARGET = Target(latency_s=0.5)
CURVE = ServiceCurve(network="net", source="test", sizes=(1, 64), seconds=(1e-4, 1e-3))
FOUND = Tuned(
    network="net", workers=1, target=TARGET, schedule=Schedule(batch=16),
    rate_per_s=0.0, why="It was found before.", curve=CURVE,
)  # fmt: skip


def test_a_schedule_that_was_found_is_begun_with():
    told = []
    engine, controller, found = opened(
        Wanted(settings=settings(workers=1), target=TARGET, found=FOUND),
        lambda done, text: told.append((done, text)),
    )
    with contextlib.closing(engine):
        assert found is FOUND
        assert engine.schedule.batch == 16
        assert controller is not None
        assert controller.schedule.batch == 16
        inputs = query(5)
        assert right(inputs, engine(**inputs))
    assert told[-1] == (1.0, "1 workers")


def test_a_batch_that_was_asked_for_is_kept_where_it_is_to_be():
    engine, controller, found = opened(
        Wanted(settings=settings(workers=1), target=TARGET, batch=8, steady=True)
    )
    with contextlib.closing(engine):
        assert engine.schedule.batch == 8
        assert controller is None
        assert found.why == "Batch 8 as it was asked for; target p95 of 500 ms."
        assert min(found.curve.seconds) > 0


def test_the_controller_knows_of_the_accelerator_and_no_schedule_of_one_that_is_none():
    table = ServiceCurve(network="net", source="a", sizes=(1, 64), seconds=(1e-3, 1e-3))
    found = replace(FOUND, schedule=Schedule(batch=16, threshold=20))
    for device, threshold in ((table, 20), (None, None)):
        engine, controller, begun = opened(
            Wanted(
                settings=settings(workers=1, accelerator=device), target=TARGET,
                found=found,
            )
        )  # fmt: skip
        with contextlib.closing(engine):
            assert controller is not None
            assert controller.forecast.host.accelerator is device
            assert engine.schedule.threshold == threshold
            assert begun.schedule.threshold == threshold
            assert controller.forecast.percentiles()[16] > 0


def test_a_batch_with_an_accelerator_uses_it_where_it_is_first():
    table = ServiceCurve(network="net", source="a", sizes=(1, 64), seconds=(1e-3, 1e-3))
    engine, _, found = opened(
        Wanted(
            settings=settings(workers=1, accelerator=table), target=TARGET, batch=8,
            steady=True,
        )
    )  # fmt: skip
    engine.close()
    assert (found.schedule.batch, found.schedule.policy) == (8, "finish")


def test_what_cannot_be_opened_says_so():
    with pytest.raises(TrimtabError, match="absent"):
        opened(Wanted(settings=settings(spec="zoo:absent"), target=TARGET))
