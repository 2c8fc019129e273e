"""``/metrics``: the counters of the feeds that the visitor may see, in the text format of Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from poison_guard.web.counters import counters
from poison_guard.web.desk import Viewer

__all__ = ["routes"]

routes = APIRouter()


@routes.get("/metrics", response_class=Response)
def metrics(visit: Viewer) -> Response:
    """Return records by place, what waits, what people decided, what runs took in and cost, and the gate, by feed."""
    body = counters(visit.desk.home, visit.visible_feeds())
    return Response(body, media_type="text/plain; version=0.0.4")
