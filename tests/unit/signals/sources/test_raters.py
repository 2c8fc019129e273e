"""Raters by the side they take, and sources that rate each other."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.sources import score_sources
from poison_guard.signals.sources.raters import Scale, rated_by_others, scale_of, standing

LEDGER = pd.DataFrame()
SCALE = Scale(-10, 10)


def votes(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source_id", "item_id", "vote"]).assign(vote=lambda t: t["vote"].astype(str))


def traders(seed: int = 0, *, people: int = 120, cheats: int = 6, each: int = 20) -> pd.DataFrame:
    """Traders who rate each other: honest ones mildly well, cheats very badly once they have cheated."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(people):
        for v in rng.choice(np.delete(np.arange(people), u), each, replace=False):
            bad = v < cheats and rng.random() < 0.9
            rows.append((f"u{u}", f"u{v}", -10.0 if bad else float(rng.integers(1, 4))))
    return votes(rows)


def judged(table: pd.DataFrame) -> pd.DataFrame:
    sided = table.assign(vote=SCALE.sides(table["vote"])).dropna()
    found = score_sources(sided, ledger=LEDGER, controls=None, alpha=0.001, standing=standing(table, SCALE, seed=0))
    return found.set_index("source_id")


@pytest.mark.parametrize(
    ("given", "scale"),
    [
        ([1, 2, 5], (0.5, 5)),
        ([0, 1], (0, 1)),
        ([-1, 1], (-1, 1)),
        ([-10, 1, 10], (-10, 10)),
        ([4] * 2000 + [5] * 2000 + [1e9], (0.5, 5)),
    ],
)
def test_the_scale_is_a_common_one_that_a_wild_number_does_not_move(given, scale):
    found = scale_of(pd.Series([str(x) for x in given]))
    assert (found.low, found.high) == scale


def test_words_have_no_scale():
    assert scale_of(pd.Series(["HELPFUL", "NOT_HELPFUL"])) is None
    assert scale_of(pd.Series([], dtype=str)) is None


def test_the_middle_takes_no_side():
    sides = Scale(1, 5).sides(pd.Series(["1", "2", "3", "4", "5", "none"]))
    assert sides.tolist() == ["down", "down", None, "up", "up", None]


def test_traders_rate_each_other_and_readers_rate_books_with_the_same_numbers():
    rng = np.random.default_rng(0)
    books = votes([(str(u), str(i), 4.0) for u in range(100) for i in rng.choice(120, 20, replace=False)])
    assert rated_by_others(traders())
    assert not rated_by_others(books)


def test_who_is_distrusted_by_many_is_held_and_the_honest_are_not():
    found = judged(traders())
    cheats = found.index.isin([f"u{v}" for v in range(6)])
    assert (found.loc[cheats, "p"] <= 0.001).all()
    assert (found.loc[~cheats, "p"] > 0.001).all()
    assert set(found.loc[cheats, "code"]) == {"distrusted"}
    assert found.loc[cheats, "reliability"].max() < found.loc[~cheats, "reliability"].min()


def test_a_brigade_of_copies_cannot_condemn_an_honest_trader():
    crowd = traders()
    rows = [(f"new{k}", f"u{v}", -10.0 if v == 50 else 1.0) for k in range(200) for v in (50, 51, 52, 53, 54, 55)]
    found = judged(pd.concat([crowd, votes(rows)], ignore_index=True))
    assert found.loc["u50", "p"] > 0.001


def test_a_ring_that_praises_itself_gains_little():
    crowd = traders()
    ring = votes([(f"u{a}", f"u{b}", 10.0) for a in range(6) for b in range(6) if a != b])
    found = judged(pd.concat([crowd, ring], ignore_index=True))
    assert (found.loc[[f"u{v}" for v in range(6)], "p"] <= 0.001).all()


def test_what_one_says_of_oneself_does_not_count():
    own = votes([(f"u{v}", f"u{v}", 10.0) for v in range(6)])
    both = [standing(t, SCALE, seed=0) for t in (traders(), pd.concat([traders(), own], ignore_index=True))]
    pd.testing.assert_frame_equal(*both)


def test_nobody_rated_has_no_standing():
    assert standing(votes([]), SCALE, seed=0).empty
    assert standing(votes([("a", "a", 1.0)]), SCALE, seed=0).empty
