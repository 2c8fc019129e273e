"""Lineage: OpenLineage events of runs, snapshots, admissions and models, through the outbox to a server or a file.

Each step tells of itself once, when it is done: a START at the time it began and a COMPLETE. An event that does not
arrive is sent again, later each time, as any task of the outbox. Events name files, snapshots and models by digest, and
hold no record.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from poison_guard.config import Settings
from poison_guard.errors import MissingExtraError, StoreError
from poison_guard.steps.opening import Feed
from poison_guard.store import Run, outbox
from poison_guard.store.snapshots import Snapshot
from poison_guard.text import dataset_of, shown_url, without_secrets

__all__ = ["NAMESPACE", "emit", "snapshot_dataset", "trace", "trace_run"]

NAMESPACE = "poison_guard"
"""Of our jobs and of what lies in a store: records of a feed, snapshots, manifests, models."""
_RUNS = uuid.UUID("6f3a2f0e-6d5b-5c53-9a6e-0d9c5f3a8b11")
"""A name space for the UUIDs of runs, which are made of our ids: an event that is sent twice is of one run."""
_PRODUCER = "https://pypi.org/project/poison-guard"


def trace(
    feed: Feed,
    step: str,
    ref: str,
    *,
    inputs: Sequence[Sequence[str | None]],
    outputs: Sequence[Sequence[str | None]],
    ended: dt.datetime,
    began: dt.datetime | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Leave a task that tells of one step, once for each `ref`; nothing where no lineage is wanted.

    `inputs` and `outputs` are ``(name space, name, digest or None)``; `facts` become the tags of the run.
    """
    if feed.settings.lineage is None:
        return
    task = {"feed": feed.contract.name, "step": step, "ref": ref, "inputs": list(map(list, inputs))}
    task |= {"outputs": list(map(list, outputs)), "began": (began or ended).isoformat(), "ended": ended.isoformat()}
    outbox.add_once(feed.store, outbox.LINEAGE, {**task, "facts": dict(facts or {})}, ended)


def snapshot_dataset(snapshot: Snapshot) -> tuple[str, str, str]:
    """Return name space, name and version of a snapshot, whose id is made of its content."""
    return NAMESPACE, f"{snapshot.feed}/snapshots", snapshot.snapshot_id


def trace_run(feed: Feed, run: Run) -> None:
    """Tell of a run that is committed: its files, what it counted, and what it cost."""
    files = [(*dataset_of(ref.uri), ref.digest) for ref in run.objects]
    cost = {name: run.cost[name] for name in ("cpu_s", "wall_s", "peak_mb", "engine") if name in run.cost}
    facts = {**run.counts, **cost, "policy": run.policy_hash, "state_version": run.state_version}
    trace(
        feed,
        "run",
        run.run_id,
        inputs=files,
        outputs=[(NAMESPACE, f"{feed.contract.name}/records", run.run_id)],
        began=run.started_at,
        ended=run.finished_at or run.started_at,
        facts=facts,
    )


def emit(settings: Settings, task: Mapping[str, Any]) -> None:
    """Send the START and the COMPLETE of a step; `StoreError` where they do not arrive."""
    target = settings.lineage
    if target is None:
        return
    try:
        from openlineage.client import event_v2
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import HttpConfig, HttpTransport
    except ImportError:
        raise MissingExtraError.of("openlineage-python", "lineage") from None
    run = event_v2.Run(str(uuid.uuid5(_RUNS, f"{task['step']}/{task['ref']}")), facets={"tags": _tags(task["facts"])})
    job = event_v2.Job(NAMESPACE, f"{task['feed']}.{task['step']}")
    inputs = [event_v2.InputDataset(*part[:2], facets=_version(part[2])) for part in task["inputs"]]
    outputs = [event_v2.OutputDataset(*part[:2], facets=_version(part[2])) for part in task["outputs"]]
    try:
        remote = target.startswith(("http://", "https://"))
        transport = HttpTransport(HttpConfig(target)) if remote else FileTransport(FileConfig(target, append=True))
        for state, at in (("START", task["began"]), ("COMPLETE", task["ended"])):
            transport.emit(
                event_v2.RunEvent(
                    eventType=event_v2.RunState[state],
                    eventTime=at,
                    run=run,
                    job=job,
                    producer=_PRODUCER,
                    inputs=inputs,
                    outputs=outputs,
                )
            )
    except (OSError, RuntimeError, ValueError) as error:  # those of requests and of the client are among them
        why = without_secrets(error, target)
        raise StoreError(f"{shown_url(target)} was not told of {task['step']} {task['ref']}: {why}") from None


def _tags(facts: Mapping[str, Any]) -> Any:
    from openlineage.client.facet_v2 import tags_run

    said = [tags_run.TagsRunFacetFields(key, str(value), NAMESPACE) for key, value in sorted(facts.items())]
    return tags_run.TagsRunFacet(tags=said)


def _version(digest: str | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return {} if digest is None else {"version": dataset_version_dataset.DatasetVersionDatasetFacet(digest)}
