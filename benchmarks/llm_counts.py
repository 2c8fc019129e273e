"""Measure how few records of the attacks on language models' feedback are found: accounts and age, and the twins held.

Usage: ``python benchmarks/llm_counts.py [--records N] [--seed K] [ATTACK …]``. The finders are called as
a scan calls them, on real replies with drawn accounts; attacks are put into Community Notes' real histories, too.
The data folder is POISON_GUARD_DATA, or ``shared/data`` beside the repository.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.llm import DATA, pools
from poison_guard.drills.attacks.llm import ATTACKS, TWINS, by_accounts, draw_feed
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.claims import rare_claims
from poison_guard.signals.campaigns.collisions import QUESTIONS, collisions, question_sets
from poison_guard.signals.campaigns.preferences import TRAITS_OF_REPLIES, preference_cells, turned_preferences
from poison_guard.signals.campaigns.prompts import prompt_triggers
from poison_guard.signals.campaigns.pushed_words import pushed_words
from poison_guard.signals.campaigns.raters import patient_raters
from poison_guard.signals.campaigns.words import word_columns

COUNTS = (30, 100, 250, 500)
ACCOUNTS = (1, 5, 20, 50)
TWIN_SIZES = {"expert": 200, "professional": 1_500, "product": 250, "product in documents": 250, "licence": 200}
_ALPHA = 0.001 / 7  # the finder's share of `campaign_alpha` in a feed of replies or documents


def found(rows: pd.DataFrame) -> pd.Series:
    """Return which rows ``(n,)`` are in a campaign."""
    rows = rows.reset_index(drop=True)
    frame = pd.concat([rows.drop(columns="rating", errors="ignore"), word_columns(rows)], axis=1)
    if "text" in rows:
        frame[QUESTIONS] = pd.Series(question_sets(rows["text"].tolist()), dtype=object)
    campaigns: list[Campaign] = [
        *rare_claims(frame, alpha=_ALPHA, source_alpha=0.0001),
        *patient_raters(frame, alpha=0.0001),
        *pushed_words(frame, alpha=_ALPHA),
    ]
    if "text" in rows:
        campaigns += collisions(frame, alpha=_ALPHA)
    if "chosen" in rows:
        frame[TRAITS_OF_REPLIES] = preference_cells(rows["chosen"].tolist(), rows["rejected"].tolist())
        campaigns += turned_preferences(frame, alpha=_ALPHA)
    if "prompt" in rows:
        campaigns += prompt_triggers(frame, alpha=_ALPHA)
    held = {record for campaign in campaigns for record in campaign.record_ids}
    return frame["record_id"].isin(held)


def notes() -> pd.DataFrame:
    """Return Community Notes' first notes with their real authors and times."""
    table = pd.read_csv(DATA.parent / "crowd" / "birdwatch-notes.csv.gz").dropna(subset="summary")
    table = table.drop_duplicates("noteId").reset_index(drop=True)
    return pd.DataFrame(
        {
            "record_id": "r" + table["noteId"].astype("str"),
            "source_id": table["participantId"],
            "observed_at": pd.to_datetime(table["createdAtMillis"], unit="ms", utc=True),
            "text": table["summary"].astype("str"),
        }
    )


def in_histories(rows: pd.DataFrame, more: pd.DataFrame, accounts: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return `more` as sent by real accounts of `rows`, with three records or more of their own, at real times."""
    active = rows["source_id"].value_counts()
    who = rng.choice(active[active >= 3].index.to_numpy(), accounts, replace=False)
    ids = [f"bad{i:06d}" for i in range(len(more))]
    return more.assign(record_id=ids, source_id=who[np.arange(len(more)) % accounts])


def lines(records: int, seed: int, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield a line an attack and number of accounts: the recall at each count, and the most that others lost."""
    pool = pools()
    for name in names:
        real, attack = name == "notes", ATTACKS["a" if name == "notes" else name]
        for accounts in ACCOUNTS:
            for aged in (True,) if real else (False, True):
                shares, others = list[str](), 0.0
                for n in COUNTS:
                    if n < accounts:
                        shares.append("")
                        continue
                    rng = np.random.default_rng([seed, n, accounts, aged])
                    rows = notes() if real else draw_feed(pool[attack.kind], records, rng, sources=records // 4)
                    more = attack.make(rows, n, rng)
                    bad = (
                        in_histories(rows, more, accounts, rng) if real else by_accounts(more, accounts, rng, aged=aged)
                    )
                    held = found(pd.concat([rows, bad], ignore_index=True)).to_numpy()
                    shares.append(f"{held[len(rows) :].mean():.2f}")
                    others = max(others, float(held[: len(rows)].mean()))
                what = f"{attack.what}{', real accounts of Community Notes' if real else ''}"
                age = "their own" if real else "aged" if aged else "new"
                yield name, what, f"{accounts}, {age}", *shares, f"{others:.4f}"


def twin_lines(records: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Yield a line a twin: the share of its records held, and of the others."""
    pool = pools()
    for name, twin in TWINS.items():
        rng = np.random.default_rng([seed, len(name)])
        rows = draw_feed(pool[twin.kind], records, rng, sources=records // 4)
        more = twin.make(rows, TWIN_SIZES.get(name, 300), rng)
        held = found(pd.concat([rows, more], ignore_index=True)).to_numpy()
        yield "twin", twin.what, name, f"{held[len(rows) :].mean():.3f}", f"{held[: len(rows)].mean():.4f}"


def main() -> None:
    """Print the lines as a table in Markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=[*ATTACKS, "notes", "twins"])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    names = tuple(name for name in given.names if name != "twins")
    print(f"| attack | what | accounts | {' | '.join(map(str, COUNTS))} | others held |\n|{' --- |' * 8}")
    for line in lines(given.records, given.seed, names):
        print("| " + " | ".join(line) + " |", flush=True)
    if "twins" in given.names:
        for line in twin_lines(given.records, given.seed):
            print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
