"""Show that two versions of the code decide alike: the demo's feeds and every drill, record for record.

``python benchmarks/same_decisions.py write OUT`` runs with the code it stands beside and writes one JSON file a case:
what the store holds of each record, item, source and campaign, and the evidence. ``compare A B`` lists what differs.
A run in a clone of an older version and one here, compared, are the proof that a change of shape changed no decision.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

QUERIES = {
    "records": "select record_id, content_hash, place, action, risk, campaign_id from records order by record_id",
    "evidence": "select record_id, signal, level, p, code, args from evidence order by 1, 2, 3, 4, 5, 6",
    "items": "select item_id, label, probability, adopted, why from items order by item_id, seq",
    "campaigns": "select campaign_id, kind, p, strength, n_records, n_sources, code, args from campaigns order by 1",
    "ledger": "select source_id, n, controls_right, controls_wrong, agreed, disagreed from ledger order by 1, seq",
}
CRASHED = "crashed"


def read_store(home: Path) -> dict[str, dict[str, Any]]:
    """Return, for each table, its number of rows and the hash of each row by its first column."""
    with sqlite3.connect(home / "store.db") as store:
        tables = {name: store.execute(query).fetchall() for name, query in QUERIES.items()}
    return {name: {"rows": len(rows), "hashes": _hashes(rows)} for name, rows in tables.items()}


def _hashes(rows: list[tuple[Any, ...]]) -> dict[str, str]:
    """Return first column -> hash of all rows that begin with it; floats with twelve digits."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        cells = [f"{cell:.12g}" if isinstance(cell, float) else str(cell) for cell in row]
        texts.setdefault(str(row[0]), []).append("\x1f".join(cells))
    return {key: hashlib.sha256("\x1e".join(sorted(found)).encode()).hexdigest()[:16] for key, found in texts.items()}


def run_demo(feed: str, seed: int) -> dict[str, Any]:
    """Return what the store holds after a feed of the demo was ingested."""
    from poison_guard import Guard
    from poison_guard.drills.demo import shipped, trusted_path, write_world
    from poison_guard.drills.worlds import make_world

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_world(make_world(feed, seed), home)
        guard = Guard.open(shipped("feeds", f"{feed}.toml"), home=home)
        guard.trust(str(trusted_path(home, feed)), by="benchmark", reason="the world's vetted records")
        guard.ingest()
        return read_store(home)


def run_drill(number: int, on: str, place: int, twin: bool, seed: int, data: Path | None) -> dict[str, Any]:
    """Return what the store holds after a cell of a drill (or of its twin) was run."""
    from poison_guard.drills.drill import cells
    from poison_guard.drills.registry import DRILLS
    from poison_guard.drills.report import _base
    from poison_guard.drills.trial import run_trial

    drill = list(DRILLS.values())[number]
    cell = cells(drill, on)[place]
    world = drill.function(on, twin=twin)(seed, **_base(on, data), **cell.params)
    with tempfile.TemporaryDirectory() as home:
        trial = run_trial(world, by=cell.by, home=home)
        return read_store(Path(home)) | {"figures": {name: str(value) for name, value in trial.figures.items()}}


def cases(demo_seeds: int, data: Path | None) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Yield a name, a function and its arguments for each case."""
    from poison_guard.drills.drill import cells
    from poison_guard.drills.registry import DRILLS

    for seed in range(demo_seeds):
        for feed in ("captcha", "chat", "telemetry"):
            yield f"demo-{feed}-{seed}", run_demo, (feed, seed)
    for on in ("synthetic", *(("duck", "product", "rte", "speech", "tweets") if data else ())):
        for number, drill in enumerate(DRILLS.values()):
            for place in range(len(cells(drill, on))):
                for twin in (False, True) if drill.twin else (False,):
                    name = f"drill-{on}-{drill.name}-{place}{'-twin' if twin else ''}"
                    yield name, run_drill, (number, on, place, twin, 0, data)


def write(out: Path, *, demo_seeds: int, data: Path | None, jobs: int, only: str) -> None:
    """Run the cases that are not in `out` yet and write a file each."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = [case for case in cases(demo_seeds, data) if only in case[0] and not (out / f"{case[0]}.json").exists()]
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(function, *args): name for name, function, args in wanted}
        for done, future in enumerate(as_completed(running), 1):
            name = running[future]
            try:
                value = future.result()
            except Exception as error:  # noqa: BLE001  # a case that dies is itself a difference
                value = {CRASHED: {"rows": 1, "hashes": {"error": repr(error)}}}
            (out / f"{name}.json").write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
            print(f"{done} of {len(wanted)}: {name}", flush=True)


def compare(a: Path, b: Path) -> int:
    """Print what differs between two folders; return the number of cases that do."""
    names = sorted({file.name for file in a.glob("*.json")} & {file.name for file in b.glob("*.json")})
    different, records = 0, 0
    for name in names:
        one, two = (json.loads((folder / name).read_text(encoding="utf-8")) for folder in (a, b))
        records += one.get("records", {}).get("rows", 0)
        told = [line for table in sorted(one.keys() | two.keys()) for line in _differences(table, one, two)]
        different += bool(told)
        for line in told:
            print(f"{name}: {line}")
    print(f"{len(names)} cases with {records:,} records compared, {different} differ")
    return different


def _differences(table: str, one: dict[str, Any], two: dict[str, Any]) -> Iterator[str]:
    if table == "figures":
        left, right = one.get(table, {}), two.get(table, {})
    else:
        left, right = (each.get(table, {}).get("hashes", {}) for each in (one, two))
    keys = [key for key in sorted(left.keys() | right.keys()) if left.get(key) != right.get(key)]
    if keys:
        yield f"{table}: {len(keys)} of {len(left)} differ, first {keys[0]} ({left.get(keys[0])}, {right.get(keys[0])})"


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("out", type=Path)
    writing.add_argument("--demo-seeds", type=int, default=10)
    writing.add_argument("--jobs", type=int, default=2)
    writing.add_argument("--only", default="", help="cases whose name contains this")
    comparing = commands.add_parser("compare")
    comparing.add_argument("a", type=Path)
    comparing.add_argument("b", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return 1 if compare(given.a, given.b) else 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["POISON_GUARD_KEY"] = "5a" * 32  # audits are drawn by the key
    data = os.environ.get("POISON_GUARD_DATA")
    write(given.out, demo_seeds=given.demo_seeds, data=Path(data) if data else None, jobs=given.jobs, only=given.only)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
