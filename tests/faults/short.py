"""The short version of the harness, for ``make test``: ``python -m tests.faults.short FOLDER`` prints lines of JSON.

One process and one undisturbed twin a verb: importing the guard and making homes cost more than the kills.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults import process
from tests.faults.disturb import disturb_scenario
from tests.faults.kills import make_twin, points_of, try_kill
from tests.faults.lab import Lab
from tests.faults.scenarios import SCENARIOS

PLAN = {"run, first": (1, 0), "seal": (2, 1), "recall": (2, 0)}
"""Kills and full disks of a verb: the dear one, one whose files are read by others, and one that takes back."""


def main(folder: str) -> None:
    """Kill and disturb each verb of the plan on SQLite."""
    work = Path(folder)
    if not process.has_shim():
        process.reexec_with_shim(process.build_shim(work), "tests.faults.short", [folder])
    process.warm_up(training=False)
    lab = Lab(work / "short")
    for name, (kills, full) in PLAN.items():
        scenario = SCENARIOS[name]
        lab.make(scenario)
        twin = make_twin(lab, scenario)
        for number, (step, strike, _) in enumerate(points_of(twin.events, kills)):
            trial = try_kill(lab, scenario, twin, step, strike, number)
            print(json.dumps({"kill": asdict(trial) | {"faults": trial.faults}}), flush=True)
        for told in disturb_scenario(lab, scenario, twin, full, "disk full once") if full else ():
            print(json.dumps({"disturbed": asdict(told)}), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("POISON_GUARD_KEY", "5a" * 32)
    main(sys.argv[1])
