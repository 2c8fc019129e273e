"""Find how few records of the attacks on language models' feedback the guard holds, by accounts and their age.

Each feed is scored once; attacks of more and fewer records are put into it, and judged as a run would judge them. So
are the honest look-alikes, of one size each.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.llm import ATTACKS, TWINS, by_accounts
from poison_guard.drills.worlds.replies import FEEDS, honest_feed
from poison_guard.errors import UsageError
from poison_guard.steps.collect import read_batch
from poison_guard.steps.coverage_trial import Trial, make_trial
from poison_guard.steps.opening import open_feed

__all__ = ["CHOICES", "COLUMNS", "COUNTS", "CountLine", "as_rows", "chosen", "count_lines", "markdown"]

COUNTS = (10, 25, 50, 100, 250, 500)
"""Records of an attack that are tried; of a published one, 250 documents are enough."""
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "attack": (*ATTACKS, *TWINS),
    "records": (20_000,),
    "accounts": (1, 5, 20, 50),
    "age": ("new", "aged"),
}
"""What can be chosen, and what is measured where nothing is."""
_FOUND = 0.5  # share of an attack's records that must be held for it to be found
_TWIN_SIZES = {"expert": 200, "professional": 1_500, "product": 250, "product in documents": 250, "licence": 200}
_TWIN = 300  # records of the other look-alikes
_OF_HISTORIES = ("a", "b", "f")  # attacks that need neither a prompt nor a pair, which these histories lack
_HISTORY = 3  # records of its own that a real account has at least, for an attack to be put into its history
_LATER = pd.Timedelta(hours=1)  # than the last record, when a batch is received


@dataclass(frozen=True, slots=True)
class CountLine:
    """What came of one attack by so many accounts, or of one look-alike (`accounts` is 0)."""

    attack: str
    what: str
    on: str
    records: int
    """Honest records that it was put among."""
    accounts: int
    age: str
    """``new``, ``aged``, or ``their own`` of real accounts."""
    found: int | None
    """The fewest records that were found with every seed; None where no count was, and of look-alikes."""
    missed: int | None
    """The most records that were missed with any seed; None where no count was, and of look-alikes."""
    held: float
    """Of the look-alike, or of the attack of the most records tried: the least share held over the seeds, or most."""
    others: float
    """The greatest share of the other records that was held."""


def chosen(given: Mapping[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    """Return `CHOICES` with those given in their place; `UsageError` for what is none of them."""
    for name, values in given.items():
        if name not in CHOICES:
            raise UsageError(f"the drill llm has no parameter {name!r}; it has {', '.join(CHOICES)}")
        known = CHOICES[name]
        numbers = isinstance(known[0], int)
        wrong = [v for v in values if not (isinstance(v, int) and v > 0 if numbers else v in known)]
        if wrong:
            wanted = "a whole number above 0" if numbers else f"one of {', '.join(known)}"
            raise UsageError(f"{name} of the drill llm must be {wanted}, got {wrong[0]!r}")
    return {name: tuple(given.get(name, values)) for name, values in CHOICES.items()}


def count_lines(
    on: str,
    choices: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
    *,
    data: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[CountLine]:
    """Yield a line an attack, number of accounts and age, then a line a look-alike; `tell` gets each that is done.

    `on` is ``synthetic``, ``replies`` or ``notes``; `data` the folder of public data. A count is found where at least
    half of its records are held. Counts are searched by halving: what is found at one is taken to be found above it.
    """
    names = [name for name in choices["attack"] if on != "notes" or name in _OF_HISTORIES]
    by_kind = {kind: [name for name in names if _kind(name) == kind] for kind in dict.fromkeys(map(_kind, names))}
    ages = ("their own",) if on == "notes" else tuple(choices["age"])
    for (kind, mine), records in itertools.product(by_kind.items(), (0,) if on == "notes" else choices["records"]):
        trials = [_trial(on, kind, records, seed, data) for seed in seeds]
        for name in mine:
            cases = itertools.product(choices["accounts"], ages) if name in ATTACKS else [(0, "")]
            for accounts, age in cases:
                line = _line(name, on, trials, accounts, age, seeds)
                tell(f"{name} on {line.records:,} {kind}{f', {accounts} accounts, {age}' if accounts else ''}")
                yield line


def _kind(name: str) -> str:
    return (ATTACKS[name] if name in ATTACKS else TWINS[name]).kind


def _trial(on: str, kind: str, records: int, seed: int, data: Path | None) -> Trial:
    rows = honest_feed(on, kind, records, np.random.default_rng([seed, records]), data)
    roles = ("record_id", "source_id", "item_id", "observed_at", "source_since", *FEEDS[kind][1])
    columns = "\n".join(f'{role} = "{role}"' for role in roles if role in rows)
    with TemporaryDirectory(prefix="poison-guard-drill-") as home:
        contract = Path(home) / "drill.toml"
        contract.write_text(f'name = "drill"\nkind = "{FEEDS[kind][0]}"\n[columns]\n{columns}\n', encoding="utf-8")
        now: dt.datetime = (rows["observed_at"].max().floor("s") + _LATER).to_pydatetime()
        with open_feed(contract, home) as feed:
            batch, controls = read_batch(feed, rows, now)
            return make_trial(feed, batch.records, controls)


def _line(name: str, on: str, trials: Sequence[Trial], accounts: int, age: str, seeds: Sequence[int]) -> CountLine:
    records = len(trials[0].records)
    if name in TWINS:
        shares = [_held(trial, name, _TWIN_SIZES.get(name, _TWIN), 0, "", seed) for trial, seed in _each(trials, seeds)]
        held, others = (max(column) for column in zip(*shares, strict=True))
        return CountLine(name, TWINS[name].what, on, records, 0, "", None, None, held, others)
    counts = [count for count in COUNTS if count >= accounts]
    known: dict[int, tuple[float, float]] = {}

    def found(count: int) -> bool:
        shares = [_held(trial, name, count, accounts, age, seed) for trial, seed in _each(trials, seeds)]
        known[count] = min(held for held, _ in shares), max(others for _, others in shares)
        return known[count][0] >= _FOUND

    low, high = -1, len(counts)  # missed at `low`, found at `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(counts[middle]) else (middle, high)
    least = counts[high] if high < len(counts) else None
    missed = counts[low] if low >= 0 else None
    others = max(share for _, share in known.values())
    held = known[max(known)][0]
    return CountLine(name, ATTACKS[name].what, on, records, accounts, age, least, missed, held, others)


def _each(trials: Sequence[Trial], seeds: Sequence[int]) -> Iterator[tuple[Trial, int]]:
    return zip(trials, seeds, strict=True)


def _held(trial: Trial, name: str, count: int, accounts: int, age: str, seed: int) -> tuple[float, float]:
    """Return the shares held of an attack or look-alike, and of the other records."""
    rng = np.random.default_rng([seed, count, accounts, len(age), len(trial.records)])
    more = (ATTACKS[name] if name in ATTACKS else TWINS[name]).make(trial.records, count, rng)
    if age == "their own":
        more = _in_histories(trial.records, more, accounts, rng)
    elif accounts:
        more = by_accounts(more, accounts, rng, aged=age == "aged")
    ids = more["record_id"].astype("str")
    return trial.shares_held(more.assign(record_id=ids, content_hash=ids).astype(trial.records.dtypes.to_dict()))


def _in_histories(rows: pd.DataFrame, more: pd.DataFrame, accounts: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return `more` as sent by real accounts of `rows`, with records of their own, at real times and on new items."""
    active = rows["source_id"].value_counts()
    who = rng.choice(active[active >= _HISTORY].index.to_numpy(), accounts, replace=False)
    ids = [f"bad{i:06d}" for i in range(len(more))]
    items = {"item_id": ids} if "item_id" in more else {}
    return more.assign(record_id=ids, source_id=who[np.arange(len(more)) % accounts], **items)


COLUMNS = (
    "attack",
    "what",
    "on",
    "records",
    "accounts",
    "found from",
    "missed up to",
    "held at most tried",
    "others held",
)
"""Titles of the cells that `as_rows` returns."""


def as_rows(lines: Sequence[CountLine]) -> list[tuple[str, ...]]:
    """Return the lines as text, in the order of `COLUMNS`; a dash where no count was found, or missed."""
    return [
        (
            line.attack if line.accounts else "twin",
            line.what,
            line.on,
            f"{line.records:,}",
            f"{line.accounts}, {line.age}" if line.accounts else line.attack,
            *("–" if n is None else f"{n}" for n in (line.found, line.missed)),
            f"{line.held:.2f}",
            f"{line.others:.4f}",
        )
        for line in lines
    ]


def markdown(lines: Sequence[CountLine], *, command: str, picture: str = "") -> str:
    """Return the page of a drill: what was measured, the picture (the name of its file) and the table."""
    about = (
        "Found: at least half of the attack's records are held, with every seed. `found from` is the fewest records\n"
        "found of those tried, `missed up to` the most that were missed with any seed; look-alikes (`twin`) must not\n"
        f"be held. Tried: {', '.join(map(str, COUNTS))} records."
    )
    head = ["# Attacks on language models' feedback: the counts that are found", f"Written by `{command}`.", about]
    image = [f"![The counts found and missed]({picture})"] if picture else []
    table = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---:|---|" + "---:|" * (len(COLUMNS) - 5)]
    table += [f"| {' | '.join(row)} |" for row in as_rows(lines)]
    return "\n\n".join([*head, *image, "\n".join(table)]) + "\n"
