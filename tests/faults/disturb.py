"""Faults that pass: full disk, I/O errors, no more files or memory, a cut or locked database, a reader that dies.

``python -m tests.faults.disturb``. A disturbed command must end with one sentence and exit code 4, or as if nothing had
been; the same command afterwards must leave what the undisturbed one leaves.
"""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import json
import os
import resource
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import process
from tests.faults.compare import Difference, differences
from tests.faults.kills import Twin, make_twin, named
from tests.faults.lab import Lab, Postgres, ScenarioError
from tests.faults.process import MODES, Outcome, Strike
from tests.faults.scenarios import SCENARIOS, Scenario

__all__ = ["FAULTS", "Disturbed", "disturb_scenario"]

VERBS = (
    "run, parquet",
    "run, first",
    "run, later",
    "trust",
    "seal",
    "gate check, first",
    "recall",
    "review release",
    "retrain",
)
MB = 1 << 20


@dataclass
class Disturbed:
    """One disturbed command, and what came of it."""

    scenario: str
    backend: str
    fault: str
    code: int | None
    wrong: list[str] = field(default_factory=list)
    """What is not as it should be."""
    message: str = ""
    seconds: float = 0.0


Fault = Callable[[Lab, Scenario, Twin, int], Iterator[tuple[str, dict[str, Any]]]]
"""Gives the ways to disturb a step, by name, as arguments of `Lab.run`; the number says how many."""


def _at_writes(error: int, how: str) -> Fault:
    def ways(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
        total = len(twin.events[-1])
        for k in sorted({1 + int(i * (total - 1) / max(n - 1, 1)) for i in range(n)}):
            name = f"{errno.errorcode[error]} {how} {k} of {total}"
            yield name, {"strike": Strike(k, how, error)}

    return ways


def _limits(what: int, name: str, values: Sequence[int]) -> Fault:
    def ways(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for value in values[:: max(1, len(values) // n)]:
            yield f"{name} {value:,}", {"limits": {what: value}}

    return ways


def _reader(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if scenario.name.startswith("run"):
        plan = ((0, "before", 0, "is killed"), (1, "fail on", errno.ENOSPC, "has a full disk"), (1, "torn", 0, "torn"))
        for at, how, error, told in plan:
            said = f"poison_guard.ingest:{lab.live / 'tmp'}:{at}:{MODES[how]}:{error}"
            yield f"reader {told}", {"env": {"FAULTS_CHILD": said}}


def _locked(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if lab.postgres is None and (lab.home / "store.db").exists():
        yield "locked for 1 s", {"lock_s": 1.0}
        yield "locked for long", {"lock_s": 300.0}


def _slow(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if lab.postgres:
        yield "30 ms a message", {"strike": Strike(1, "slow", 30)}


def _clock_back(lab: Lab, scenario: Scenario, twin: Twin, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, days in (("a day and a half", 1.5), ("three months", 90), ("to 1990", 36 * 365)):
        yield name, {"clock": lab.clock - dt.timedelta(days=days)}


FAULTS: dict[str, Fault] = {
    "disk full": _at_writes(errno.ENOSPC, "fail on"),
    "disk full once": _at_writes(errno.ENOSPC, "fail once"),
    "I/O error": _at_writes(errno.EIO, "fail once"),
    "files of at most": _limits(resource.RLIMIT_FSIZE, "file bytes", (8192, 16384, 65536, 262144)),
    "open files": _limits(resource.RLIMIT_NOFILE, "files", (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)),
    "memory": _limits(resource.RLIMIT_AS, "memory MB", (0, 2 * MB, 8 * MB, 32 * MB, 64 * MB, 128 * MB, 256 * MB)),
    "database cut": _at_writes(errno.ECONNRESET, "fail once"),
    "database slow": _slow,
    "database locked": _locked,
    "clock back": _clock_back,
    "reader": _reader,
}


def disturb_scenario(lab: Lab, scenario: Scenario, twin: Twin, n: int, only: str = "") -> Iterator[Disturbed]:
    """Disturb the last step of the scenario that `lab` was made for in every way; yield what came of each."""
    for fault, ways in FAULTS.items():
        if only in fault and (fault != "database cut" or lab.postgres):
            for name, how in ways(lab, scenario, twin, n):
                yield _disturb(lab, scenario, twin, f"{fault}: {name}", how)


def _disturb(lab: Lab, scenario: Scenario, twin: Twin, name: str, how: dict[str, Any]) -> Disturbed:
    lab.put_back(twin.before[-1])
    lock_s = how.get("lock_s")
    outcome = _run_locked(lab, scenario, lock_s) if lock_s else lab.run(scenario.steps[-1], **how)
    told = Disturbed(scenario.name, "postgres" if lab.postgres else "sqlite", name, outcome.code)
    told.wrong, told.seconds = _how_it_ended(outcome, twin), round(outcome.seconds, 2)
    told.message = "" if outcome.code in scenario.steps[-1].codes else outcome.err.strip()[-300:]
    done = lab.run_all(scenario.steps[-1:]) if outcome.code not in scenario.steps[-1].codes else [outcome]
    if done[-1].code != twin.codes[-1]:
        told.wrong.append(f"the rerun ends with {done[-1].code}: {done[-1].err.strip()[-200:]}")
    other = differences(twin.held, lab.held(), twin.later_mask)
    if "clock" in how:  # what is old, late or of tomorrow is judged by the clock; no record may be lost or doubled
        other = Difference([row for row in other.lost if row.startswith("records:")], other.doubled)
    told.wrong += [*other.lost[:3], *other.doubled[:3], *other.other[:2]]
    checked = lab.check()
    told.wrong += ["the audit is broken"] if checked.audit else []
    told.wrong += [f"{name} is revoked and verifies" for name in checked.revoked_but_valid]
    return told


def _how_it_ended(outcome: Outcome, twin: Twin) -> list[str]:
    """Return what is wrong with how a disturbed command ended."""
    if outcome.code == twin.codes[-1]:
        return []
    if outcome.hung or outcome.code is None:
        return ["it hangs" if outcome.hung else "it dies"]
    wrong = [] if outcome.code == 4 else [f"exit code {outcome.code}, not 4"]
    if "Traceback" in outcome.err:
        wrong.append("a traceback")
    if "internal error" in outcome.err:
        wrong.append("an internal error, not a sentence")
    elif outcome.err.count("poison-guard: ") != 1:
        wrong.append("not one sentence")
    return wrong


def _run_locked(lab: Lab, scenario: Scenario, seconds: float) -> Outcome:
    """Do the step while somebody else holds the store's lock; the guard waits two seconds instead of a minute."""
    import poison_guard.store.engine as engine

    lock = sqlite3.connect(lab.home / "store.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    release = threading.Timer(seconds, lock.rollback)
    waits, engine._WAIT_SECONDS = engine._WAIT_SECONDS, 2
    release.start()
    try:
        return lab.run(scenario.steps[-1])
    finally:
        engine._WAIT_SECONDS = waits
        release.cancel()
        release.join()
        lock.rollback()
        lock.close()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.disturb", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/poison-guard-faults"))
    parser.add_argument("--n", type=int, default=4, help="ways of each kind of fault, about")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--fault", default="", help="faults whose name holds this")
    parser.add_argument("--postgres", default="", help="URL of a server; without, SQLite alone")
    args = parser.parse_args(arguments)
    if not process.has_shim():
        process.reexec_with_shim(process.build_shim(args.work), "tests.faults.disturb", arguments)
    process.warm_up()
    results = args.work / "disturbed.jsonl"
    for server in [None, *([Postgres(args.postgres, "d")] if args.postgres else [])]:
        lab = Lab(args.work / "disturbed", server)
        for name in (name for name in named(args.only) if args.only or name in VERBS):
            try:
                lab.make(SCENARIOS[name])
                twin = make_twin(lab, SCENARIOS[name])
                for told in disturb_scenario(lab, SCENARIOS[name], twin, args.n, args.fault):
                    with results.open("a") as file:
                        file.write(json.dumps(asdict(told)) + "\n")
                    if told.wrong:
                        print(
                            f"{told.scenario} [{told.backend}] {told.fault}: {told.wrong} {told.message!r}", flush=True
                        )
            except ScenarioError as error:
                print(f"{name} cannot be tried: {error}", flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("POISON_GUARD_KEY", "5a" * 32)
    sys.exit(main(sys.argv[1:]))
