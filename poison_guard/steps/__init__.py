"""One function a step: load, call the core, store. Schedulers pass ids; `Guard` and the command line pass sources."""

from poison_guard.steps.scheduled import collect, decide, score, store, validate

__all__ = ["collect", "decide", "score", "store", "validate"]
