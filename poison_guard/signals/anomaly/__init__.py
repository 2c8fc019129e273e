"""How strange a record is against the trusted ones: detectors, their ensemble and calibrated p-values."""

from __future__ import annotations

from poison_guard.signals.anomaly.autoencoder import Autoencoder
from poison_guard.signals.anomaly.bagged_knn import BaggedNeighbours
from poison_guard.signals.anomaly.base import Detector
from poison_guard.signals.anomaly.copod import COPOD
from poison_guard.signals.anomaly.ecod import ECOD
from poison_guard.signals.anomaly.hbos import HBOS
from poison_guard.signals.anomaly.iforest import ExtendedIsolationForest, IsolationForest
from poison_guard.signals.anomaly.inne import NeighbourBalls
from poison_guard.signals.anomaly.knn import NearestNeighbours
from poison_guard.signals.anomaly.lof import LocalOutlierFactor
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis
from poison_guard.signals.anomaly.pca import PCA

__all__ = ["DETECTORS", "Detector"]

DETECTORS: dict[str, type[Detector]] = {
    d.name: d
    for d in (
        IsolationForest,
        ExtendedIsolationForest,
        NearestNeighbours,
        LocalOutlierFactor,
        NeighbourBalls,
        BaggedNeighbours,
        Mahalanobis,
        ECOD,
        COPOD,
        HBOS,
        PCA,
        Autoencoder,
    )
}
"""Every detector by name: a new one is one file and one entry here; the law tests run over all."""
