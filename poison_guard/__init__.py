"""poison_guard: the checkpoint between *collected* and *learned*. Importing it imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poison_guard.guard import Guard
    from poison_guard.home import Home, propose, verify
    from poison_guard.signals.anomaly import DETECTORS
    from poison_guard.signals.sources import consensus

__all__ = ["DETECTORS", "Guard", "Home", "__version__", "consensus", "propose", "verify"]

__version__ = "0.1.0"

_MODULES = {
    "Guard": "poison_guard.guard",
    "Home": "poison_guard.home",
    "propose": "poison_guard.home",
    "verify": "poison_guard.home",
    "DETECTORS": "poison_guard.signals.anomaly",
    "consensus": "poison_guard.signals.sources",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'poison_guard' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return what the package offers, for completion."""
    return sorted(__all__)
