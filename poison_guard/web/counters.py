"""Counters of a home in the text format of Prometheus: for ``/metrics``, and as a file for its textfile collector."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from poison_guard.errors import MissingExtraError, StoreError, UsageError
from poison_guard.files import write_atomic
from poison_guard.guard import Guard, Home

__all__ = ["counters", "write_counters"]

_PREFIX = "poison_guard_"
_TAKEN = ("accepted", "quarantined", "rejected", "staged", "seen_before", "unreadable", "recalled")
"""What a run counts its records by."""
_REASONS = 100
"""Reasons that the queue is counted by, the commonest: more than there are codes of reasons."""


def counters(home: str | Path, feeds: Collection[str] | None = None) -> bytes:
    """Return what a home's feeds (or those named) hold, took in, and cost; `MissingExtraError` without the library."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise MissingExtraError.of("prometheus-client", "web") from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counters(home, feeds))
    return generate_latest(registry)


def write_counters(home: str | Path) -> Path | None:
    """Write the counters into the file that the settings name, whole or not at all; None where they name none.

    `MissingExtraError` without the library, `StoreError` where the file cannot be written.
    """
    settings = Home.open(home).settings
    if settings.metrics is None:
        return None
    try:
        write_atomic(settings.metrics, counters(home).decode(), mode=None)
        settings.metrics.chmod(0o644)  # the collector is another user, and no line of it is a secret
    except OSError as error:
        raise StoreError(f"{settings.metrics} cannot be written: {error.strerror or error}") from None
    return settings.metrics


class _Counters:
    """A collector: one family of figures after the other."""

    def __init__(self, home: str | Path, feeds: Collection[str] | None) -> None:
        self._home, self._feeds = home, feeds

    def collect(self) -> Iterator[Any]:
        """Yield the families."""
        status = Home.open(self._home).status()
        last = {run.feed: run for run in reversed(status.runs) if run.status == "committed"}
        found: dict[str, Any] = {}
        for feed in status.feeds:
            if self._feeds is None or feed.feed in self._feeds:
                _add_places(found, feed)
                _add_queue(found, feed, self._home)
                _add_runs(found, feed, last.get(feed.feed))
        yield from found.values()


def _add(found: dict[str, Any], name: str, what: str, value: float, labels: dict[str, str], *, total: bool) -> None:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if name not in found:
        kind = CounterMetricFamily if total else GaugeMetricFamily
        found[name] = kind(_PREFIX + name, what, labels=tuple(labels))
    found[name].add_metric(tuple(labels.values()), value)


def _add_places(found: dict[str, Any], feed: Any) -> None:
    """Add where the records of a feed are, and whether it may be trained on."""
    for place, n in feed.places.items():
        _add(found, "records", "Records by place", n, {"feed": feed.feed, "place": place}, total=False)
    admitted = float(bool(feed.training and feed.training.admitted))
    what = "Whether the last snapshot may be trained on (1) or not (0)"
    _add(found, "gate_admitted", what, admitted, {"feed": feed.feed}, total=False)


def _add_queue(found: dict[str, Any], feed: Any, home: str | Path) -> None:
    """Add what waits and for how long, and what people decided."""
    name, now = {"feed": feed.feed}, dt.datetime.now(dt.UTC)
    with suppress(UsageError):  # a feed whose contract is gone has its other figures all the same
        groups = Guard.open(feed.feed, home=home).queue(group_by="reason", size=_REASONS)
        what = "Records that wait for review, by the reason that weighs most"
        for row in groups.entries.to_dict("records"):
            _add(found, "queue_records", what, row["records"], {**name, "reason": str(row["value"])}, total=False)
        what = "Records that people released or rejected"
        _add(found, "queue_decided_records", what, groups.decided, name, total=False)
    age = (now - feed.oldest).total_seconds() if feed.oldest else 0.0
    _add(found, "queue_oldest_seconds", "Age of the oldest record that waits", age, name, total=False)
    _add(found, "queue_expired_records", "Records that nobody read in time", feed.expired, name, total=False)


def _add_runs(found: dict[str, Any], feed: Any, last: Any) -> None:
    """Add what all runs of a feed took in and cost, and the last one."""
    name, sums = {"feed": feed.feed}, feed.totals
    _add(found, "runs", "Runs that were stored", sums.get("runs", 0), name, total=True)
    for outcome in _TAKEN:
        what, n = "Records that runs took in, by what became of them", sums.get(outcome, 0)
        _add(found, "run_records", what, n, {**name, "outcome": outcome}, total=True)
    what = "CPU seconds of all processes of runs"
    _add(found, "run_cpu_seconds", what, sums.get("cpu_s", 0.0), name, total=True)
    _add(found, "run_wall_seconds", "Seconds from begin to commit of runs", sums.get("wall_s", 0.0), name, total=True)
    if last is not None:
        ended = last.finished_at.timestamp() if last.finished_at else 0.0
        _add(found, "last_run_timestamp_seconds", "When the last run was stored", ended, name, total=False)
        what = "Most memory that a process of the last run held"
        _add(found, "last_run_peak_bytes", what, last.cost.get("peak_mb", 0.0) * 2**20, name, total=False)
