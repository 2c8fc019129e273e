"""How strange a record is against the trusted ones: detectors, their ensemble and calibrated p-values."""

from __future__ import annotations

from poison_guard.signals.anomaly.base import Detector
from poison_guard.signals.anomaly.iforest import IsolationForest
from poison_guard.signals.anomaly.knn import NearestNeighbours
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis

__all__ = ["DETECTORS", "Detector"]

DETECTORS: dict[str, type[Detector]] = {d.name: d for d in (IsolationForest, NearestNeighbours, Mahalanobis)}
"""Every detector by name: a new one is one file and one entry here; the law tests run over all."""
