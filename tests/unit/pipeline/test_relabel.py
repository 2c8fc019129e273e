"""Labels settled again after people moved records: a release can adopt, a recall takes the label back."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import parse_contract
from poison_guard.pipeline.relabel import settle_labels

CONTRACT = parse_contract(
    {"name": "captcha", "kind": "answers", "columns": {"source_id": "u", "item_id": "i", "answer": "a"}}
)
AT = pd.Timestamp("2026-03-01", tz="UTC")
LEDGER = ["controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong", "n", "blocked"]
NO_CONTROLS = pd.DataFrame({"item_id": pd.Series(dtype="str"), "answer": pd.Series(dtype="str")})


def votes(*rows: tuple[str, str, str], age_days: int = 400, verdict: int = 0) -> pd.DataFrame:
    """Return votes ``item, source, answer`` of accounts of one age."""
    frame = pd.DataFrame(list(rows), columns=["item_id", "source_id", "vote"]).astype("str")
    since = AT - pd.Timedelta(days=age_days)
    return frame.assign(source_since=since, observed_at=AT, received_at=AT, verdict=verdict)


def settled(
    accepted: pd.DataFrame, held: pd.DataFrame | None = None, context: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the settled labels by item."""
    ledger = pd.DataFrame({"source_id": pd.Series(dtype="str"), **{name: pd.Series(dtype=float) for name in LEDGER}})
    no = votes() if held is None else held
    return settle_labels(accepted, no, ledger, NO_CONTROLS, CONTRACT, context).set_index("item_id")


AGREED = [("w", f"s{n}", "seven") for n in range(9)]


def test_enough_accepted_votes_adopt_a_label() -> None:
    assert settled(votes(*AGREED)).loc["w", ["label", "adopted", "why"]].tolist() == ["seven", True, "adopted"]


def test_an_item_whose_votes_were_taken_back_is_no_longer_adopted() -> None:
    out = settled(votes(AGREED[0]), votes(*AGREED[1:]))
    assert out.loc["w", ["adopted", "why"]].tolist() == [False, "uncertain"]
    assert not settled(votes(), votes(*AGREED)).loc["w", "adopted"]


def test_newcomers_against_established_sources_are_a_conflict_until_a_reviewer_vouches_for_them() -> None:
    old = votes(*[("w", f"s{n}", "four") for n in range(2)])
    new = [("w", f"n{n}", "nine") for n in range(18)]
    conflict = settled(pd.concat([old, votes(*new, age_days=1)], ignore_index=True))
    assert conflict.loc["w", ["adopted", "why"]].tolist() == [False, "conflict"]
    vouched = settled(pd.concat([old, votes(*new, age_days=1, verdict=1)], ignore_index=True))
    assert vouched.loc["w", "why"] != "conflict"


def test_an_item_all_of_whose_votes_were_rejected_loses_its_label() -> None:
    out = settled(votes(), votes(*AGREED, verdict=-1))
    assert out.loc["w", ["adopted", "why"]].tolist() == [False, "too_few"]


def test_one_item_of_free_text_is_told_by_the_others_of_its_feed() -> None:
    heard = "the old ship left the harbour before the morning tide came in"
    said = [heard, heard.replace("old", "cold"), heard.replace("ship", "sheep"), heard.replace("tide", "time"), heard]
    few = votes(*[("w", f"s{n}", text) for n, text in enumerate(said)])
    assert settled(few).loc["w", "why"] == "uncertain"
    others = [
        (f"i{n}", f"s{m}", f"{n} and {m} are things that somebody counted {n * m} times")
        for n in range(20)
        for m in (1, 2)
    ]
    out = settled(few, context=votes(*others))
    assert out.loc["w", ["label", "why"]].tolist() == [heard, "adopted"]
    assert list(out.index) == ["w"]
