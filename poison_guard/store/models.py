"""Models: what each was trained on (a warm start included), its metrics, and which one is a feed's champion."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import ClosedError, NotFoundError, UsageError
from poison_guard.store import chain
from poison_guard.store import tables as t
from poison_guard.store.admissions import require_unrevoked
from poison_guard.store.bulk import to_json
from poison_guard.store.engine import Store
from poison_guard.store.snapshots import find_snapshot

__all__ = [
    "Model",
    "add_model",
    "ancestors",
    "champion",
    "descendants",
    "find_revoked_ancestor",
    "find_rollback",
    "list_models",
    "load_model",
    "models_of",
    "promote",
    "refuse_model",
    "revoked_ancestor",
    "rollback",
    "set_metrics",
]


def ancestors(conn: sa.Connection, model_id: str) -> list[tuple[str, str]]:
    """Return ``(model, snapshot)`` of a model and of those it started from, itself first."""
    lineage: dict[str, str] = {}
    c, name = t.models.c, model_id
    while name and name not in lineage:
        row = conn.execute(sa.select(c.snapshot_id, c.config).where(c.model_id == name)).first()
        if row is None:
            break
        lineage[name] = str(row.snapshot_id)
        name = str(json.loads(row.config).get("warm") or "")
    return list(lineage.items())


def descendants(conn: sa.Connection, feeds: Iterable[str], model_ids: Iterable[str]) -> set[str]:
    """Return the models of some feeds that started from one of `model_ids`, or from one that did; without these."""
    c = t.models.c
    rows = conn.execute(sa.select(c.model_id, c.config).where(c.feed.in_(sorted(set(feeds)))).order_by(c.seq))
    roots = set(model_ids)
    reached = set(roots)
    for name, config in rows:  # a model is entered after the one it started from
        if json.loads(config).get("warm") in reached:
            reached.add(str(name))
    return reached - roots


def find_revoked_ancestor(store: Store, model_id: str) -> tuple[str, str, str] | None:
    """Return `revoked_ancestor` of a model, read by itself."""
    with store.read() as conn:
        return revoked_ancestor(conn, model_id)


def revoked_ancestor(conn: sa.Connection, model_id: str) -> tuple[str, str, str] | None:
    """Return ``(model, snapshot, why)``: the nearest in a model's lineage whose snapshot was revoked; None if all hold.

    The model itself comes first, so that what it was trained on is told before what it started from.
    """
    c = t.snapshots.c
    for name, snapshot_id in ancestors(conn, model_id):
        row = conn.execute(sa.select(c.revoked_seq, c.revoked_why).where(c.snapshot_id == snapshot_id)).first()
        if row is not None and row.revoked_seq is not None:
            return name, snapshot_id, str(row.revoked_why)
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """One trained model; its weights lie at `path`."""

    model_id: str
    feed: str
    snapshot_id: str
    admission_seq: int | None
    """Admission it was trained under; None for a measurement, which can never be promoted."""
    status: str
    """``trained``, ``evaluated``, ``champion``, ``retired``, ``refused`` or ``measurement``."""
    path: str
    sha256: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    """Empty before it was evaluated."""
    why: str | None
    """Why it was promoted, refused or rolled back to, last."""
    made_at: dt.datetime
    seq: int
    """Event that entered it."""
    promoted_seq: int | None
    """Event that last made it champion; None when it never was."""


def add_model(
    store: Store,
    feed: str,
    *,
    snapshot_id: str,
    admission_seq: int | None,
    path: str,
    sha256: str,
    config: Mapping[str, Any],
    now: dt.datetime | None = None,
) -> Model:
    """Store a trained model and return it; the one there is where the snapshot was trained on with this config before.

    What a training cost (``config["cost"]``) tells no two of them apart. Without an admission a model is a measurement,
    and kept apart from admitted ones. Raises `ClosedError` when the admission is not this snapshot's, or the snapshot
    was revoked meanwhile.
    """
    config_text = to_json(dict(config), bounded=False)
    model_id = f"{snapshot_id}-{_config_hash(config, admitted=admission_seq is not None)[:8]}"
    with store.write() as conn:
        seq, at = chain.next_seq(conn), utc_or_now(now)
        known = _find_model(conn, model_id)
        if known is not None:
            return known
        _check_admitted(conn, feed, snapshot_id, admission_seq)
        status = "measurement" if admission_seq is None else "trained"
        row = {"model_id": model_id, "feed": feed, "snapshot_id": snapshot_id, "admission_seq": admission_seq}
        row |= {"status": status, "path": path, "sha256": sha256, "config": config_text, "metrics": "{}"}
        conn.execute(sa.insert(t.models), [{**row, "made_at": at, "seq": seq}])
        body = {"file": sha256, "admission": admission_seq}
        chain.append(conn, store.key, kind="model.trained", at=at, feed=feed, rows=[(t.models, [model_id])], body=body)
        return _load_model(conn, model_id)


def set_metrics(store: Store, model_id: str, metrics: Mapping[str, Any], now: dt.datetime | None = None) -> Model:
    """Store what a model was measured to do and return it; the same metrics again change nothing."""
    text = to_json(dict(metrics), bounded=False)
    with store.write() as conn:
        chain.next_seq(conn)
        model = _load_model(conn, model_id)
        if to_json(dict(model.metrics), bounded=False) == text:
            return model
        status = "evaluated" if model.status == "trained" else model.status
        return _update_model(conn, store.key, model, "model.evaluated", utc_or_now(now), metrics=text, status=status)


def promote(store: Store, model_id: str, *, why: str, now: dt.datetime | None = None) -> Model:
    """Make a model its feed's champion and retire the one before; the champion itself is left as it is.

    Raises `ClosedError` for a measurement, a refused model, and one whose snapshot was revoked; `UsageError` for one
    that was champion before, which `rollback` brings back.
    """
    with store.write() as conn:
        chain.next_seq(conn)
        model = _load_model(conn, model_id)
        if model.status == "champion":
            return model
        _check_promotable(conn, model)
        return _make_champion(conn, store.key, model, kind="model.promoted", why=why, at=utc_or_now(now))


def refuse_model(store: Store, model_id: str, why: str, now: dt.datetime | None = None) -> Model:
    """Note that a model may not become champion, and why; `UsageError` for one that was, or is a measurement."""
    with store.write() as conn:
        chain.next_seq(conn)
        model = _load_model(conn, model_id)
        if model.status == "refused":
            return model
        if model.status not in ("trained", "evaluated"):
            raise UsageError(f"{model_id} is {_status_text(model)}, so there is nothing to refuse")
        return _update_model(conn, store.key, model, "model.refused", utc_or_now(now), status="refused", why=why)


def rollback(
    store: Store, feed: str, *, to: str, by: str, reason: str, force: bool = False, now: dt.datetime | None = None
) -> Model:
    """Make an earlier champion the champion again, by a named person, and return it.

    Raises `UsageError` without name or reason, and for a model that never was champion or is so now; `ClosedError` when
    its snapshot was revoked, unless `force`.
    """
    if not by.strip() or not reason.strip():
        raise UsageError("a rollback is ordered by a named person with a reason; give both `by` and `reason`")
    with store.write() as conn:
        chain.next_seq(conn)
        model = _load_model(conn, to)
        if model.feed != feed:
            raise UsageError(f"{to} is a model of {model.feed}, not of {feed}")
        if model.status != "retired" or model.admission_seq is None or model.promoted_seq is None:
            raise UsageError(f"{to} is {_status_text(model)}; only an earlier champion can be rolled back to")
        if not force:
            _check_lineage(conn, to, "choose another champion, or force it")
        who = {"why": reason.strip(), "actor": by.strip()}
        return _make_champion(conn, store.key, model, kind="model.rolled_back", at=utc_or_now(now), **who)


def find_rollback(store: Store, model: Model, *, by: str, reason: str) -> dict[str, Any] | None:
    """Return what made a model the champion (``champion, before``) where it was the same person's rollback to it."""
    if model.status != "champion" or model.why != reason.strip():
        return None
    e = t.events.c
    query = sa.select(e.body).where(e.seq == model.promoted_seq, e.kind == "model.rolled_back", e.actor == by.strip())
    with store.read() as conn:
        body = conn.execute(query).scalar()
    return None if body is None else dict(json.loads(body))


def champion(store: Store, feed: str) -> Model | None:
    """Return the champion of a feed; None before the first."""
    with store.read() as conn:
        return _champion(conn, feed)


def load_model(store: Store, model_id: str) -> Model:
    """Return a model; `NotFoundError` when there is none of that id."""
    with store.read() as conn:
        return _load_model(conn, model_id)


def list_models(store: Store, feed: str, limit: int = 200) -> list[Model]:
    """Return the last models of a feed, newest first, measurements included."""
    c = t.models.c
    query = sa.select(t.models).where(c.feed == feed).order_by(c.seq.desc()).limit(limit)
    with store.read() as conn:
        return [_model_of_row(row) for row in conn.execute(query)]


def models_of(store: Store, snapshot_ids: Iterable[str]) -> list[Model]:
    """Return every model that learned from one of the snapshots, oldest first, measurements included.

    That is those trained on one, and those that started from such a model (`descendants`).
    """
    c = t.models.c
    with store.read() as conn:
        used = _models_with(conn, c.snapshot_id, snapshot_ids)
        also = descendants(conn, {m.feed for m in used}, [m.model_id for m in used]) if used else set()
        models = [*used, *_models_with(conn, c.model_id, also)]
    return sorted(models, key=lambda model: model.seq)


def _models_with(conn: sa.Connection, column: sa.ColumnElement[Any], values: Iterable[str]) -> list[Model]:
    ids = list(dict.fromkeys(values))
    return [
        _model_of_row(row)
        for start in range(0, len(ids), 500)
        for row in conn.execute(sa.select(t.models).where(column.in_(ids[start : start + 500])))
    ]


def _config_hash(config: Mapping[str, Any], *, admitted: bool) -> str:
    settings = to_json({name: value for name, value in config.items() if name != "cost"}, bounded=False)
    return hashlib.sha256(f"{admitted}\0{settings}".encode()).hexdigest()


def _check_admitted(conn: sa.Connection, feed: str, snapshot_id: str, admission_seq: int | None) -> None:
    """Refuse a model of another feed's snapshot, and one whose admission does not hold any more."""
    if admission_seq is None:
        if find_snapshot(conn, snapshot_id).feed != feed:
            raise UsageError(f"{snapshot_id} is not a snapshot of {feed}")
        return
    require_unrevoked(conn, feed, snapshot_id)
    a = t.admissions.c
    if not conn.execute(sa.select(a.seq).where(a.seq == admission_seq, a.snapshot_id == snapshot_id)).first():
        raise ClosedError(f"{admission_seq} is no admission of {snapshot_id}; train under the one of this snapshot")


def _check_promotable(conn: sa.Connection, model: Model) -> None:
    if model.admission_seq is None or model.status == "measurement":
        raise ClosedError(f"{model.model_id} was trained without an admission, to measure; it can never be promoted")
    _check_admitted(conn, model.feed, model.snapshot_id, model.admission_seq)
    _check_lineage(conn, model.model_id, "`poison-guard retrain --from-scratch` makes one that owes it nothing")
    if model.status == "retired":
        raise UsageError(f"{model.model_id} was champion before; `poison-guard rollback` brings it back")
    if model.status == "refused":
        raise ClosedError(f"{model.model_id} was refused ({model.why}); train another one")


def _check_lineage(conn: sa.Connection, model_id: str, advice: str) -> None:
    """Refuse a model that learned from a snapshot that was revoked, itself or through a warm start."""
    root = revoked_ancestor(conn, model_id)
    if root is not None:
        name, snapshot_id, why = root
        via = "" if name == model_id else f" started from {name}, which"
        raise ClosedError(f"{model_id}{via} was trained on {snapshot_id}, which was revoked ({why}); {advice}")


def _make_champion(
    conn: sa.Connection, key: bytes, model: Model, *, kind: str, why: str, at: dt.datetime, actor: str | None = None
) -> Model:
    """Retire the champion and put `model` in its place, in one event."""
    seq, before, c = chain.next_seq(conn), _champion(conn, model.feed), t.models.c
    ids = [model.model_id, *([before.model_id] if before else [])]
    chain.check_rows_unchanged(conn, key, feed=model.feed, table=t.models, ids=ids)
    if before is not None:
        conn.execute(sa.update(t.models).where(c.model_id == before.model_id).values(status="retired"))
    conn.execute(
        sa.update(t.models).where(c.model_id == model.model_id).values(status="champion", why=why, promoted_seq=seq)
    )
    body = {
        "champion": model.model_id,
        "before": before.model_id if before else None,
        "why": chain.keyed_hash(key, why),
    }
    chain.append(conn, key, kind=kind, at=at, feed=model.feed, rows=[(t.models, ids)], body=body, actor=actor)
    return _load_model(conn, model.model_id)


def _update_model(conn: sa.Connection, key: bytes, model: Model, kind: str, at: dt.datetime, **values: Any) -> Model:
    chain.check_rows_unchanged(conn, key, feed=model.feed, table=t.models, ids=[model.model_id])
    conn.execute(sa.update(t.models).where(t.models.c.model_id == model.model_id).values(**values))
    chain.append(conn, key, kind=kind, at=at, body={}, feed=model.feed, rows=[(t.models, [model.model_id])])
    return _load_model(conn, model.model_id)


def _champion(conn: sa.Connection, feed: str) -> Model | None:
    c = t.models.c
    row = conn.execute(sa.select(t.models).where(c.feed == feed, c.status == "champion")).first()
    return None if row is None else _model_of_row(row)


def _find_model(conn: sa.Connection, model_id: str) -> Model | None:
    row = conn.execute(sa.select(t.models).where(t.models.c.model_id == model_id)).first()
    return None if row is None else _model_of_row(row)


def _load_model(conn: sa.Connection, model_id: str) -> Model:
    model = _find_model(conn, model_id)
    if model is None:
        raise NotFoundError(f"there is no model {model_id!r}; `poison-guard models` lists them")
    return model


def _model_of_row(row: sa.Row[Any]) -> Model:
    values: dict[str, Any] = row._asdict()
    return Model(**{**values, "config": json.loads(values["config"]), "metrics": json.loads(values["metrics"])})


def _status_text(model: Model) -> str:
    return "a measurement" if model.status == "measurement" else model.status
