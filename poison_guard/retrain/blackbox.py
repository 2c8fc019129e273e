"""Attack a model by asking alone: perturb an input, check the answer, adjust; no gradient, and bounded questions.

A model whose gradients are hidden withstands attacks that follow them and not this one, so that the two together tell
robustness from masking (Athalye, Carlini & Wagner 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from poison_guard.errors import UsageError
from poison_guard.retrain.transforms import misspell

__all__ = ["Query", "Search", "search_images", "search_tables", "search_texts"]

Query = Callable[[np.ndarray], np.ndarray]
"""Takes m inputs, gives scores ``(m, k)``: logits or log-probabilities, larger is likelier. All that is known."""
_HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # Andriushchenko et al.: share of the queries spent
_FIRST_SHARE = 0.8  # of the input that the first proposals change; theirs for L-infinity

_Check = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Propose = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found, one row an input."""

    inputs: np.ndarray
    """Like the inputs given: the last proposal kept, within the radius."""
    right: np.ndarray
    """``(n,)`` bool: whether the model still gives the true class."""
    spent: np.ndarray
    """``(n,)`` int: how many queries it took, at most `queries`."""


def search_images(
    query: Query, images: np.ndarray, truth: np.ndarray, *, epsilon: float, queries: int, seed: int
) -> Search:
    """Search around `images` ``(n, channels, height, width)`` in [0, 1] within L-infinity `epsilon`.

    `truth` ``(n,)`` are classes, -1 for one that the model does not know (never right). Starts from stripes and paints
    squares that shrink as the queries are spent. References: Andriushchenko et al. (2020), "Square Attack".
    """
    _check_bounds(epsilon, queries)
    random = np.random.default_rng(seed)
    low, high = np.clip(images - epsilon, 0, 1), np.clip(images + epsilon, 0, 1)
    n, channels, height, width = images.shape

    def propose(state: np.ndarray, live: np.ndarray, spent: float) -> np.ndarray:
        side = max(1, round(math.sqrt(_share(spent) * height * width)))
        tall, wide = min(side, height), min(side, width)
        inside = _window(random, len(live), height, tall)[:, None, :, None]
        inside = inside & _window(random, len(live), width, wide)[:, None, None, :]
        up = random.random((len(live), channels, 1, 1)) < 0.5
        return np.where(inside, np.where(up, high[live], low[live]), state)

    stripes = np.where(random.random((n, channels, 1, width)) < 0.5, high, low)
    return _search(lambda state, _: query(state), images, stripes, truth, propose, queries)


def search_tables(
    query: Query, rows: np.ndarray, truth: np.ndarray, *, epsilon: float, mutable: np.ndarray, queries: int, seed: int
) -> Search:
    """Search around `rows` ``(n, d)`` within L-infinity `epsilon` where `mutable` (bool, broadcast to ``(n, d)``).

    `truth` as in `search_images`. Starts from a corner of the box and redraws ever fewer coordinates, from its faces or
    from within.
    """
    _check_bounds(epsilon, queries)
    random = np.random.default_rng(seed)
    free = np.broadcast_to(mutable, rows.shape)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        signs = np.where(random.random(shape) < 0.5, -1.0, 1.0)
        return epsilon * np.where(random.random(shape) < 0.75, signs, random.uniform(-1, 1, shape))

    def propose(state: np.ndarray, live: np.ndarray, spent: float) -> np.ndarray:
        order = np.where(free[live], random.random(state.shape), 2.0)
        count = np.maximum(1, np.round(_share(spent) * free[live].sum(axis=1, keepdims=True)))
        chosen = (order.argsort(axis=1).argsort(axis=1) < count) & free[live]
        return np.where(chosen, rows[live] + draw(state.shape), state).astype(rows.dtype)

    corner = np.where(free, rows + epsilon * np.where(random.random(rows.shape) < 0.5, -1.0, 1.0), rows)
    return _search(lambda state, _: query(state), rows, corner.astype(rows.dtype), truth, propose, queries)


def search_texts(
    query: Query, texts: np.ndarray, truth: np.ndarray, *, share: float, queries: int, seed: int
) -> Search:
    """Search around `texts` ``(n,)`` of str by misspelling at most `share` of each one's words (one word at least).

    `truth` as in `search_images`. Where the edits are spent, one is taken back for each new one. A text without words
    stays as it is. References: Gao et al. (2018), "Black-box Generation of Adversarial Text Sequences" (DeepWordBug).
    """
    _check_bounds(share, queries)
    random = np.random.default_rng(seed)
    words = [str(text).split(" ") for text in texts]
    limits = [max(1, int(share * sum(map(bool, parts)))) if share else 0 for parts in words]
    nothing = _objects([{} for _ in words])

    def render(state: np.ndarray, live: np.ndarray) -> np.ndarray:
        return _objects([_edited(words[at], edits) for at, edits in zip(live, state, strict=True)])

    def propose(state: np.ndarray, live: np.ndarray, _: float) -> np.ndarray:
        pairs = zip(live, state, strict=True)
        return _objects([_one_edit(words[at], edits, limits[at], random) for at, edits in pairs])

    search = _search(lambda state, live: query(render(state, live)), nothing, None, truth, propose, queries)
    return Search(render(search.inputs, np.arange(len(words))), search.right, search.spent)


def _search(
    check: _Check, origin: np.ndarray, start: np.ndarray | None, truth: np.ndarray, propose: _Propose, queries: int
) -> Search:
    """Keep each proposal that brings the true class closer to losing; inputs that are wrong already are left alone."""
    n = len(origin)
    state, margin, spent = origin.copy(), np.full(n, -np.inf), np.zeros(n, dtype=np.int64)
    right = np.zeros(n, dtype=bool)
    if n:
        margin, right = _margin(check(state, np.arange(n)), truth)
        spent += 1
    for step in range(1, queries):
        live = np.flatnonzero(right)
        if not len(live):
            break
        forced = step == 1 and start is not None  # the start is kept whatever it does: it is where the search begins
        trial = start[live] if start is not None and step == 1 else propose(state[live], live, step / queries)
        after, still = _margin(check(trial, live), truth[live])
        spent[live] += 1
        better = np.ones(len(live), dtype=bool) if forced else (after < margin[live]) | ~still
        kept = live[better]
        state[kept], margin[kept], right[kept] = trial[better], after[better], still[better]
    return Search(state, right, spent)


def _margin(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much the true class leads, ``(m,)``, and whether it is the one given; scores that are NaN lose."""
    sound = ~np.isnan(scores).any(axis=1) & (truth >= 0)
    scores = np.where(sound[:, None], scores, 0.0)
    rows, at = np.arange(len(scores)), np.maximum(truth, 0)
    rest = scores.astype(np.float64)
    rest[rows, at] = -np.inf
    with np.errstate(invalid="ignore"):
        margin = np.nan_to_num(scores[rows, at] - rest.max(axis=1), nan=0.0, posinf=np.inf, neginf=-np.inf)
    return np.where(sound, margin, -np.inf), sound & (scores.argmax(axis=1) == truth)


def _share(spent: float) -> float:
    """Return the share of an input that a proposal changes once `spent` of the queries are."""
    return _FIRST_SHARE / 2 ** sum(spent > at for at in _HALVED_AT)


def _window(random: np.random.Generator, n: int, size: int, length: int) -> np.ndarray:
    """Return ``(n, size)`` masks, each a run of `length` at a random place."""
    first = random.integers(0, size - length + 1, (n, 1))
    places = np.arange(size)
    return (places >= first) & (places < first + length)


def _one_edit(words: list[str], edits: dict[int, str], limit: int, random: np.random.Generator) -> dict[int, str]:
    """Return `edits` with one more word misspelt, for one that is taken back where `limit` are."""
    open_places = [at for at, word in enumerate(words) if word and at not in edits]
    if not open_places or not limit:
        return edits
    after = dict(edits)
    if len(after) >= limit:
        del after[list(after)[random.integers(len(after))]]
    at = open_places[random.integers(len(open_places))]
    after[at] = misspell(words[at], random)
    return after


def _edited(words: list[str], edits: dict[int, str]) -> str:
    return " ".join([edits.get(at, word) for at, word in enumerate(words)]) if edits else " ".join(words)


def _objects(values: list[object]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _check_bounds(radius: float, queries: int) -> None:
    if not (math.isfinite(radius) and radius >= 0):
        raise UsageError(f"the radius of a search must be finite and at least 0, got {radius}")
    if queries < 1:
        raise UsageError(f"a search needs at least 1 query an input, got {queries}")
