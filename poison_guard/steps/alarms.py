"""Which runs held more records for their own content than chance explains, with few false alarms over a feed's life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.numerics.conformal import excess_p
from poison_guard.numerics.fdr import e_lond, e_value
from poison_guard.records import Level
from poison_guard.store import Run

__all__ = ["LEVEL", "RunAlarm", "run_alarms"]

LEVEL = 0.05
"""Expected share of false ones among all alarms a feed will ever raise."""


@dataclass(frozen=True, slots=True)
class RunAlarm:
    """What record-level signals held in one run, beside what they hold of honest records."""

    run_id: str
    records: int
    held: int
    expected: float
    """Honest records that are held on average among so many."""
    false_share: float
    """Benjamini and Hochberg's estimate of the share of honest ones among the held, in [0, 1]; 0 where none is held."""
    p: float
    """Chance of so many held, or more, where all are honest."""
    needed: float
    """e-value from which this run would raise an alarm; grows with the runs, falls with alarms before."""
    raised: bool


def run_alarms(runs: Sequence[Run], level: float = LEVEL) -> tuple[RunAlarm, ...]:
    """Return one entry a committed and calibrated run of a feed, in the order of `runs`: oldest first, from the first.

    A run's p-value is beta-binomial: the calibration rows' luck and the records' own. All runs share calibration rows,
    so their p-values depend on each other; e-LOND's alarms hold all the same. Runs whose records come in clumps (many
    of one source alike) raise more than `level` promises: it counts records, not sources.
    """
    judged = [(run, *facts) for run in runs if run.status == "committed" and (facts := _facts(run))]
    chances = [excess_p(held, records, rows, rate) for _, records, held, rows, rate in judged]
    alarms = e_lond((float(e_value(p)) for p in chances), level)
    return tuple(
        RunAlarm(
            run_id=run.run_id,
            records=records,
            held=held,
            expected=records * rate,
            false_share=min(1.0, records * rate / held) if held else 0.0,
            p=p,
            needed=alarm.needed,
            raised=alarm.raised,
        )
        for (run, records, held, _, rate), p, alarm in zip(judged, chances, alarms, strict=True)
    )


def _facts(run: Run) -> tuple[int, int, int, float] | None:
    """Return records judged, those held by record-level signals, the fewest rows that calibrated any, and the rate."""
    calibration = run.measurements.get("calibration", {})
    groups = calibration.get("groups", {})
    if not calibration.get("supervised") or not groups or run.measurements.get("phase") != "enforcing":
        return None
    records = sum(sum(counts) for counts in run.measurements["risk_histogram"].values())
    held = int(run.measurements["held_by_level"].get(Level.RECORD.value, 0))
    return records, held, min(int(group["n"]) for group in groups.values()), float(calibration["rate"])
