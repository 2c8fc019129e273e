"""Ask: which answers, looks and controls would buy the most adopted labels now, as a table and a file of tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.decide.adopt import Adoption
from poison_guard.decide.next_looks import PUSH_REASONS, next_looks
from poison_guard.errors import UsageError
from poison_guard.files import write_atomic
from poison_guard.ingest.collect import read_controls
from poison_guard.pipeline.relabel import adopt_anew
from poison_guard.results import TableResult
from poison_guard.steps.item_labels import DENIED
from poison_guard.steps.opening import Feed
from poison_guard.steps.row_files import ENDINGS, Rows, file_body
from poison_guard.store import audit
from poison_guard.store.membership import accepted_votes, first_votes, held_votes
from poison_guard.store.reading import load_items, load_sources
from poison_guard.text import to_jsonable

__all__ = ["AskResult", "ask"]

_MOST_ITEMS = 50_000
_WHY = {
    "too_few": "has fewer answers than min_answers",
    "uncertain": "is not certain enough yet",
    "disputed": "has answers that differ too much, or as many for another label",
    "conflict": "newcomers agree on another answer than established sources",
    "contested": "held answers are against it, or for it",
    "unproven": "newcomers alone gave it",
    "split": "established sources give two answers",
    "pushed": "somebody may have pushed it",
    DENIED: "trusted items deny its label: `poison-guard review list --kind item`",
    "unchecked": "answered no control, and says much of what waits",
}


@dataclass(frozen=True, slots=True)
class AskResult(TableResult):
    """What `Guard.ask` returns, most useful first."""

    feed: str
    budget: int
    """Answers and looks that may be spent."""
    tasks: pd.DataFrame
    """``ask, item_id, source_id, label, probability, why, n, labels, related, sentence``."""
    waiting: int
    """Items whose label waits."""
    out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the tasks and what they are expected to buy."""
        return {
            "feed": self.feed,
            "budget": self.budget,
            "spent": int(self.tasks["n"].sum()),
            "waiting": self.waiting,
            "labels": float(self.tasks["labels"].sum()),
            "out": self.out,
            "tasks": to_jsonable(self.tasks.to_dict("records")),
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return what to ask about which item or source, and why."""
        names = self.tasks["item_id"].where(self.tasks["item_id"].notna(), self.tasks["source_id"])
        shown = zip(self.tasks["ask"], names, *(self.tasks[k] for k in ("n", "labels", "sentence")), strict=True)
        return ("ask", "item or source", ">n", ">labels", "why"), list(shown)

    @property
    def message(self) -> str:
        """What the tasks would buy, in a sentence."""
        spent, labels = int(self.tasks["n"].sum()), float(self.tasks["labels"].sum())
        where = f"; written to {self.out}" if self.out else ""
        return f"{self.waiting:,} labels wait; {spent:,} answers and looks may settle some {labels:,.0f} of them{where}"


def ask(feed: Feed, budget: int = 500, out: str | Path | None = None) -> AskResult:
    """Return what to ask within `budget` answers and looks, and write it to `out` (.jsonl, .json or .csv).

    `UsageError` for a feed without answers, a budget below 1, or an ending that is none of these.
    """
    if feed.contract.vote is None:
        raise UsageError(f"{feed.contract.name} has no answers about items: there is nothing to ask")
    if budget < 1:
        raise UsageError(f"the budget must be at least 1 answer, got {budget}")
    path = None if out is None else Path(out)
    form = None if path is None else ENDINGS.get(path.suffix.lower())
    if path is not None and form not in ("jsonl", "json", "csv"):
        raise UsageError(f"{path.name} must end with .jsonl, .json or .csv")
    tasks, waiting = _tasks(feed, budget)
    if path is not None and form is not None:
        rows = Rows(to_jsonable(tasks.to_dict("records")))
        write_atomic(path, file_body(rows, form, safe=True)[0])
    return AskResult(feed.contract.name, budget, tasks, waiting, None if path is None else str(path))


def _tasks(feed: Feed, budget: int) -> tuple[pd.DataFrame, int]:
    store, contract = feed.store, feed.contract
    items = load_items(store, contract.name)
    waits = ~items["adopted"].astype(bool)
    ids = pd.concat([items[waits], items[~waits]])["item_id"].head(_MOST_ITEMS).tolist()
    with store.read() as conn:
        seq = audit.head(conn)
    yes, no = (load(store, contract.name, ids, seq=seq) for load in (accepted_votes, held_votes))
    ledger, controls = load_sources(store, contract, version=seq), read_controls(contract, feed.settings.home)
    around = first_votes(store, contract.name, seq=seq)
    adoption = adopt_anew(yes, no, ledger, controls, contract, around)
    adoption = _without_denied(adoption, items.loc[items["why"] == DENIED, "item_id"])
    verified = ledger[["controls_right", "controls_wrong", "outcomes_right", "outcomes_wrong"]].sum(axis=1) > 0
    tasks = next_looks(adoption, frozenset(ledger.loc[verified, "source_id"]), budget)
    return tasks.assign(sentence=[_sentence(row) for row in tasks.to_dict("records")]), int(waits.sum())


def _without_denied(adoption: Adoption, denied: pd.Series) -> Adoption:
    """Return what would be adopted without the items whose label trusted items deny: they need a look, no answers."""
    mine = adoption.items["item_id"].isin(denied)
    rows = adoption.items.assign(
        adopted=adoption.items["adopted"] & ~mine, why=adoption.items["why"].mask(mine, DENIED)
    )
    return replace(adoption, items=rows, doubts=np.where(mine, "", adoption.doubts))


def _sentence(task: dict[str, Any]) -> str:
    """Return why a task is worth its answers, in a sentence."""
    why, others = _WHY.get(task["why"], str(task["why"])), int(task["related"])
    if task["ask"] == "controls":
        return f"{why}: {others:,} labels that wait"
    more = f"; who answered it answered {others:,} more such items" if others and task["why"] in PUSH_REASONS else ""
    if task["ask"] == "look":
        return f"{why}{more}"
    return f"{why}: {task['probability']:.0%}"
