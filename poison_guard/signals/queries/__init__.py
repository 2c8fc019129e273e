"""Who asks a model what: streams of queries that copy a model or search its edges, told from those of people."""

from poison_guard.signals.queries.measures import MEASURES
from poison_guard.signals.queries.plane import Plane
from poison_guard.signals.queries.streams import KnownStreams, Queries, Stream, find_streams

__all__ = ["MEASURES", "KnownStreams", "Plane", "Queries", "Stream", "find_streams"]
