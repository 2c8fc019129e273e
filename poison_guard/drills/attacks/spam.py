"""Attack *spam*: accounts that answer without looking: at random, or always the same, and agree on nothing wrong.

Benign twin: the same accounts at the same times on the same items, answering as well as everybody else.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from poison_guard.drills.attacks.answering import births, draw_items, honest_rows, sealed, told
from poison_guard.drills.world import Origin, World
from poison_guard.errors import UsageError

__all__ = ["make", "make_twin"]


def make(
    seed: int,
    *,
    share: float = 0.3,
    style: Literal["random", "first"] = "random",
    aged: float = 0.2,
    honest: int = 300,
    new: float = 0.2,
    accuracy: float = 0.8,
    answers_per_item: int = 5,
    items: int = 1500,
    classes: int = 4,
    controls: float = 0.1,
    benign: bool = False,
) -> World:
    """Return the world drawn from `seed`: thirty days of answers, a `share` of them by spammers, controls too.

    Spammers are as busy as the `honest` people, and a share `aged` of them has a history; of the honest ones all but a
    share `new`. `style`: any class, or each spammer always the same. What they get right by chance counts as
    camouflage. With `benign` they answer as honest people do. `UsageError` for a share outside [0, 0.9].
    """
    if not 0 <= share <= 0.9 or style not in ("random", "first"):
        raise UsageError(f"share must be in [0, 0.9] and style random or first, got {share} and {style!r}")
    given: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    rng = np.random.default_rng([seed, 41])
    facts = draw_items(rng, items, classes, controls)
    spammers = round(honest * share / (1 - share))
    skill = rng.beta(10 * accuracy, 10 * (1 - accuracy), honest + spammers)
    crowd = honest_rows(rng, facts, skill[:honest], answers_per_item)
    crowd["born"] = births(rng, crowd, 1 - new)
    parts = [crowd]
    if spammers:
        theirs = max(1, round(answers_per_item * share / (1 - share)))
        mine = honest_rows(rng, facts, skill[honest:], theirs)
        if not benign:
            habit = rng.integers(0, classes, spammers)[mine["who"]]
            mine["said"] = habit if style == "first" else told(rng, facts, mine["item"].to_numpy(), 1 / classes)
            right = mine["said"].to_numpy() == facts.truth[mine["item"]]
            mine["origin"] = np.where(right, str(Origin.CAMOUFLAGE), str(Origin.POISON))
        mine["born"] = births(rng, mine, aged)
        parts.append(mine.assign(who=mine["who"] + honest))
    given["targets"] = facts.ids[~facts.control].tolist()
    return sealed(pd.concat(parts, ignore_index=True), facts, name="spam", seed=seed, params=given)


def make_twin(seed: int, **params: Any) -> World:
    """Return the benign twin of `make`: the same accounts, answering honestly."""
    return make(seed, **params, benign=True)
