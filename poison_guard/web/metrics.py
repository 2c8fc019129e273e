"""``/metrics``: the queue's counters in the text format of Prometheus."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter
from fastapi.responses import Response

from poison_guard.errors import MissingExtraError
from poison_guard.guard import Home
from poison_guard.web.desk import Viewer

__all__ = ["routes"]

routes = APIRouter()
_PREFIX = "poison_guard_"


@routes.get("/metrics", response_class=Response)
def metrics(visit: Viewer) -> Response:
    """Return records by place, what waits and for how long, what people decided, and the gate, by feed."""
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError:
        raise MissingExtraError.of("prometheus-client", "web") from None
    registry, now = CollectorRegistry(), dt.datetime.now(dt.UTC)

    def gauge(name: str, what: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, what, ("feed", *labels), registry=registry)

    records = gauge("records", "Records by place", "place")
    waiting = gauge("queue_records", "Records that wait for review, by the reason that weighs most", "reason")
    oldest = gauge("queue_oldest_seconds", "Age of the oldest record that waits")
    expired = gauge("queue_expired_records", "Records that nobody read in time")
    decided = gauge("queue_decided_records", "Records that people released or rejected")
    admitted = gauge("gate_admitted", "Whether the last snapshot may be trained on (1) or not (0)")
    for feed in Home.open(visit.desk.home).status().feeds:
        if feed.feed not in visit.visible_feeds():
            continue
        for place, n in feed.places.items():
            records.labels(feed.feed, place).set(n)
        guard = visit.desk.guard(feed.feed)
        groups = guard.queue(group_by="reason", size=100)
        for row in groups.entries.to_dict("records"):
            waiting.labels(feed.feed, str(row["value"])).set(row["records"])
        decided.labels(feed.feed).set(groups.decided)
        oldest.labels(feed.feed).set((now - feed.oldest).total_seconds() if feed.oldest else 0)
        expired.labels(feed.feed).set(feed.expired)
        admitted.labels(feed.feed).set(bool(feed.training and feed.training.admitted))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")
