"""The tiles of a page as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.runtime.dashboard.state import State, Tile

__all__ = ["CONTENT_TYPE", "text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_UNITS: Final = {
    "s": "_seconds", "bytes": "_bytes", "bytes/s": "_bytes_per_second",
    "frac": "_ratio",
}  # fmt: skip


@final
class _Tiles(Collector):
    def __init__(self, prefix: str, tiles: Iterable[Tile]) -> None:
        self.prefix, self.tiles = prefix, tiles

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for tile in self.tiles:
            if not tile.metric or tile.value is None:
                continue
            name = f"{self.prefix}_{tile.metric}{_UNITS.get(tile.unit, '')}"
            family = CounterMetricFamily if tile.counter else GaugeMetricFamily
            keys = [key for key, _ in tile.labels]
            found = families.setdefault(
                name, family(name, tile.name if not keys else tile.metric, labels=keys)
            )
            found.add_metric([value for _, value in tile.labels], tile.value)
        return families.values()


def text(prefix: str, state: State) -> bytes:
    """Return the numbers of a state in Prometheus' text format.

    Args:
        prefix: of all names, such as ``trimtab_edge``.
        state: whose tiles are scraped.

    Example:
        >>> from trimtab.runtime.dashboard.state import Group
        >>> tile = Tile(name="answers", value=3, metric="answers", counter=True)
        >>> group = Group(title="", tiles=(tile,))
        >>> found = text("trimtab", State(status="", blocks=(group,)))
        >>> found.decode().splitlines()[-1]
        'trimtab_answers_total 3.0'
    """
    registry = CollectorRegistry()
    registry.register(_Tiles(prefix, state.tiles))
    return generate_latest(registry)
