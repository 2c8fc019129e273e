"""Lineage of operators for Airflow's OpenLineage provider, which asks an operator for it when its task is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from poison_guard.text import dataset_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

__all__ = ["STORE", "lineage_of"]

STORE = "poison_guard"
"""Namespace of what lies in a store, as the events of `steps.lineage` have it."""


def lineage_of(
    inputs: Sequence[str], outputs: Sequence[str], *, snapshot: tuple[str, str] | None = None
) -> OperatorLineage:
    """Return what a task read and wrote: files or URLs, and a snapshot by its feed and id."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client import event_v2
    from openlineage.client.facet_v2 import dataset_version_dataset

    read = [event_v2.InputDataset(*dataset_of(name)) for name in inputs]
    if snapshot is not None:
        version = dataset_version_dataset.DatasetVersionDatasetFacet(snapshot[1])
        read.append(event_v2.InputDataset(STORE, f"{snapshot[0]}/snapshots", facets={"version": version}))
    return OperatorLineage(inputs=read, outputs=[event_v2.OutputDataset(*dataset_of(name)) for name in outputs])
