"""Kill every verb at every write and run it again: ``python -m tests.faults.kills``; results as lines of JSON.

An undisturbed run is stopped at many of its events (before one, after half of its bytes, or after it), and what a kill
there would leave is read: the files, and the rows that are committed. Points that leave the same are one trial, for the
repetition sees nothing else. It restores the home, kills the process at one of them, repeats it as a person or a
scheduler would, and compares the home with that of the undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import process
from tests.faults.compare import Held, Mask, differences, mask_of
from tests.faults.lab import LATER, Base, Checked, Lab, Postgres, ScenarioError
from tests.faults.process import Event, Look, Outcome, Strike
from tests.faults.scenarios import SCENARIOS, Scenario, Step

__all__ = ["Trial", "Twin", "kills_of", "make_twin", "named", "points_of", "run_scenario", "try_kill"]

Point = tuple[int, Strike, Event]
"""Number of a step, and where in it."""

DEAR = 0.6
"""CPU seconds above which a verb gets half of the kills: the others find as much in half of the time."""


@dataclass
class Trial:
    """One kill, and what came of it."""

    scenario: str
    backend: str
    step: int
    at: int
    how: str
    event: str
    points: int = 1
    """How many of the points looked at leave what this one leaves."""
    homes: int = 1
    """How many different homes all of the points leave."""
    clock: str = "same"
    """``same``, or ``later``: the command was repeated ten minutes later."""
    resumed: str = "step"
    """``step``: the killed process is repeated; ``start``: all of them, as a new DAG run does."""
    reached: bool = True
    code: int | None = 0
    expected_code: int | None = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    audit: int | None = 0
    revoked_valid_after_kill: list[str] = field(default_factory=list)
    revoked_valid: list[str] = field(default_factory=list)
    verify_differs: list[str] = field(default_factory=list)
    message: str = ""
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """Names of what went wrong."""
        found = {
            "lost": self.lost,
            "doubled": self.doubled,
            "other": self.other,
            "exit code": self.code != self.expected_code,
            "audit broken": self.audit != 0,
            "revoked data verifies": self.revoked_valid,
            "revoked data verifies until then": self.revoked_valid_after_kill,
            "verify differs": self.verify_differs,
        }
        return [name for name, value in found.items() if value]


@dataclass
class Twin:
    """The undisturbed run of a scenario: what it leaves, and which events it has, step by step."""

    held: Held
    mask: Mask
    later_mask: Mask
    checked: Checked
    events: list[list[Event]]
    codes: list[int | None]
    cpu: float
    """CPU seconds of its dearest step."""
    left: dict[tuple[int, str], list[Strike]]
    """Points looked at, by step and by what a kill there leaves."""
    before: list[Base]
    """The home before each step."""


def make_twin(lab: Lab, scenario: Scenario, points: int = 0) -> Twin:
    """Run a scenario undisturbed, three times: ten minutes later, with its events told, and stopped at `points`."""
    helds, outcomes = [], []
    for early in (LATER, LATER * 0):
        lab.restore(early=early)
        outcomes.append(_undisturbed(lab, scenario, scenario.steps, survey=True))
        helds.append(lab.held())
    events = [outcome.events for outcome in outcomes[1]]
    lab.restore()
    left, before = _look(lab, scenario, points_of(events, points))
    later, held, again = *helds, lab.held()
    masks = mask_of([held, again]), mask_of([held, again, later])
    codes, cpu = [outcome.code for outcome in outcomes[1]], max(outcome.cpu for outcome in outcomes[1])
    return Twin(held, *masks, lab.check(), events, codes, cpu, left, before)


def _undisturbed(lab: Lab, scenario: Scenario, steps: Sequence[Step], **more: Any) -> list[Outcome]:
    done = lab.run_all(steps, **more)
    if done[-1].code not in steps[len(done) - 1].codes or len(done) < len(steps):
        raise ScenarioError(f"{scenario.name}: exit {done[-1].code}: {done[-1].err[-600:]}")
    return done


def _look(
    lab: Lab, scenario: Scenario, points: Sequence[Point]
) -> tuple[dict[tuple[int, str], list[Strike]], list[Base]]:
    """Run a scenario undisturbed; return its points by step and what a kill there leaves, and the home before each."""
    left: dict[tuple[int, str], list[Strike]] = defaultdict(list)
    before = []
    for number, step in enumerate(scenario.steps):
        before.append(lab.kept(f"before-{number}"))

        def keep(reached: Sequence[Strike], number: int = number) -> None:
            left[number, lab.left()] += reached

        look = Look([strike for there, strike, _ in points if there == number], keep)
        _undisturbed(lab, scenario, [step], look=look)
    return left, before


def kills_of(twin: Twin, limit: int) -> list[tuple[int, Strike, int]]:
    """Return a step, one of its points, and how many leave the same: of at most `limit` different homes."""
    homes = [(step, strikes[len(strikes) // 2], len(strikes)) for (step, _), strikes in twin.left.items()]
    return _spread(homes, limit)


def points_of(steps: Sequence[Sequence[Event]], limit: int) -> list[Point]:
    """Return at most about `limit` points, spread evenly; few are left out of what is no write of the store."""
    rare, common = [], []
    for step, events in enumerate(steps):
        for k, event in enumerate(events, start=1):
            if event.kind == "send" or (event.kind == "write" and "store.db" in event.path):
                common.append((step, Strike(k, "torn" if k % 2 else "before"), event))
            else:
                ways = ("before", "torn") if event.kind == "write" else ("before",)
                rare += [(step, Strike(k, how), event) for how in ways]
            if event.kind in ("rename", "link", "unlink", "fsync") or k == len(events):
                rare.append((step, Strike(k, "after"), event))
    if len(rare) + len(common) <= limit:
        return sorted(rare + common, key=lambda point: (point[0], point[1].at))
    few = min(len(rare), max(limit * 2 // 3, limit - len(common)))
    chosen = [*_spread(rare, few), *_spread(common, limit - few)]
    return sorted(chosen, key=lambda point: (point[0], point[1].at))


def _spread(points: list[Any], n: int) -> list[Any]:
    if n >= len(points):
        return points
    return [points[int((i + 0.5) * len(points) / n)] for i in range(n)]


def try_kill(lab: Lab, scenario: Scenario, twin: Twin, step: int, strike: Strike, number: int) -> Trial:
    """Kill one process of a scenario, repeat it, and compare."""
    event = twin.events[step][strike.at - 1]
    backend, shown = "postgres" if lab.postgres else "sqlite", _shown(event, lab)
    trial = Trial(scenario.name, backend, step, strike.at, strike.how, shown)
    trial.clock = "later" if number % 2 else "same"
    trial.resumed = "start" if len(scenario.steps) > 1 and number % 3 == 0 else "step"
    started = time.monotonic()
    lab.put_back(twin.before[step])
    killed_at = lab.clock
    struck = lab.run(scenario.steps[step], strike)
    trial.reached = struck.killed
    if not struck.killed:
        return trial
    if scenario.revokes:
        trial.revoked_valid_after_kill = lab.check(on_copy=True).revoked_but_valid
    if trial.clock == "later":
        lab.clock += LATER
    first = step
    if trial.resumed == "start":
        first, lab.clock = 0, lab.clock - (lab.clock - _started(lab, trial))
    done = lab.run_all(scenario.steps[first:])
    trial.code, trial.expected_code = done[-1].code, twin.codes[first + len(done) - 1]
    trial.message = done[-1].err[-400:] if trial.code != trial.expected_code else ""
    told = differences(twin.held, lab.held(), twin.mask if trial.clock == "same" else twin.later_mask)
    trial.lost, trial.doubled, trial.other, trial.strays = (
        told.lost[:5],
        told.doubled[:5],
        told.other[:3],
        told.strays[:5],
    )
    lab.clock = max(lab.clock, killed_at)  # or what the killed step signed is of tomorrow to who verifies
    checked = lab.check()
    trial.audit, trial.revoked_valid = checked.audit, checked.revoked_but_valid
    trial.verify_differs = sorted(
        name for name, valid in twin.checked.verified.items() if checked.verified.get(name, not valid) != valid
    )
    trial.seconds = round(time.monotonic() - started, 2)
    return trial


def _started(lab: Lab, trial: Trial) -> Any:
    from tests.faults.lab import HOUR, START

    return START + HOUR * 24 + (LATER if trial.clock == "later" else LATER * 0)


def _shown(event: Event, lab: Lab) -> str:
    path = event.path.replace(str(lab.live), "").replace("/home/", "")
    return f"{event.kind} {path}" + (f" ({event.size})" if event.size else "")


def run_scenario(lab: Lab, scenario: Scenario, points: int, limit: int, done: set[tuple[Any, ...]]) -> Iterator[Trial]:
    """Do the trials of a scenario that are not among `done`; yield each."""
    lab.make(scenario)
    twin = make_twin(lab, scenario, points)
    backend = "postgres" if lab.postgres else "sqlite"
    for number, (step, strike, n) in enumerate(kills_of(twin, limit // 2 if twin.cpu > DEAR else limit)):
        if (scenario.name, backend, step, strike.at, strike.how) not in done:
            trial = try_kill(lab, scenario, twin, step, strike, number)
            trial.points, trial.homes = n, len(twin.left)
            yield trial


def named(only: str) -> list[str]:
    """Return the scenarios that a list of names, or of parts of names, means; all for an empty one."""
    parts = only.split(";")
    return [
        name for name in SCENARIOS if any(part == name or (part in name and part not in SCENARIOS) for part in parts)
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("/tmp/poison-guard-faults"), help="homes and results")
    parser.add_argument("--points", type=int, default=100, help="points of a scenario to look at, about")
    parser.add_argument("--limit", type=int, default=60, help="kills of a scenario at most")
    parser.add_argument("--only", default="", help="names of scenarios, or parts of names; ; between")
    parser.add_argument("--backends", default="sqlite,postgres")
    parser.add_argument("--part", default="1/1", help="I/N: do every N-th scenario, from the I-th")
    parser.add_argument("--postgres", default="", help="URL of a server; without, one is started")
    args = parser.parse_args(arguments)
    if not process.has_shim():
        process.reexec_with_shim(process.build_shim(args.work), "tests.faults.kills", arguments)
    process.warm_up()
    results = args.work / "kills.jsonl"
    index, parts = map(int, args.part.split("/"))
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row["scenario"], row["backend"], row["step"], row["at"], row["how"]) for row in known if "step" in row}
    jobs = [(name, backend) for backend in args.backends.split(",") for name in named(args.only)]
    labs = {"sqlite": Lab(args.work / f"worker-{index}")}
    if args.postgres:
        labs["postgres"] = Lab(args.work / f"worker-{index}-postgres", Postgres(args.postgres, f"w{index}"))
    for name, backend in jobs[index - 1 :: parts]:
        if backend not in labs:
            continue
        try:
            for trial in run_scenario(labs[backend], SCENARIOS[name], args.points, args.limit, done):
                _write(results, asdict(trial) | {"faults": trial.faults if trial.reached else []})
                if trial.reached and trial.faults:
                    print(
                        f"{trial.scenario} [{trial.backend}] step {trial.step} {trial.how} {trial.at} {trial.event}: "
                        f"{', '.join(trial.faults)} {trial.message[-160:]!r}",
                        flush=True,
                    )
        except (ScenarioError, ValueError) as error:
            _write(results, {"scenario": name, "backend": backend, "error": str(error)})
            print(f"{name} [{backend}] cannot be tried: {error}", flush=True)
    return 0


def _write(results: Path, row: dict[str, Any]) -> None:
    with results.open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("POISON_GUARD_KEY", "5a" * 32)
    sys.exit(main(sys.argv[1:]))
