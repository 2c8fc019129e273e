"""The campaign finders, one line each: what a finder sees, when it has anything to look at, and what it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import SignalError
from poison_guard.records import Campaign, Place
from poison_guard.signals.campaigns.findings import merge_campaigns
from poison_guard.signals.campaigns.minhash import EMPTY
from poison_guard.signals.campaigns.plausibility import NEEDED, implausible
from poison_guard.signals.campaigns.text import MIN_SPEAKERS

__all__ = [
    "FINDERS",
    "BatchView",
    "Finder",
    "find_campaigns",
    "finders_that_compare",
    "most_voters",
    "read_sketches",
    "read_vectors",
]


@dataclass(frozen=True, slots=True)
class BatchView:
    """What a finder compares: the batch, and `earlier` records as evidence that campaigns name apart."""

    scored: pd.DataFrame
    """The scored frame of the batch, sorted by ``record_id``."""
    contract: Contract
    earlier: pd.DataFrame
    """Records of earlier batches (`State.memory`), none of them in the batch."""
    newcomer: np.ndarray
    """``(n + m,)`` bool a row of `scored` and then of `earlier`: its source has no history to lose."""
    trusted_vectors: np.ndarray | None = None
    """Vectors of the trusted reference, ``(m, d)``, scaled like the batch's."""
    trusted: pd.DataFrame | None = None
    """Trusted records, with the texts that the batch's copies are compared with."""
    voters: int = 0
    """The most sources in sight that answered one item (`most_voters`)."""

    @property
    def timed(self) -> pd.DataFrame:
        """The batch without the guard's own clock: the same for a whole batch, it is no evidence."""
        return self.scored.drop(columns="received_at")

    @property
    def counted(self) -> np.ndarray:
        """Which earlier records ``(m,)`` are evidence of what was said: all but those that people rejected."""
        return (self.earlier["place"] != Place.REJECTED.value).to_numpy(bool)

    def remembered(self, trace: str) -> pd.DataFrame:
        """The earlier records that are evidence and have the column `trace`, in order."""
        if trace not in self.earlier:
            return self.earlier.iloc[:0]
        return self.earlier[self.counted & self.earlier[trace].notna().to_numpy(bool)].reset_index(drop=True)

    @property
    def sourced(self) -> bool:
        """Whether there are sources to compare: at least three in sight."""
        seen = self.scored["speaker"].nunique()
        return (
            seen >= MIN_SPEAKERS
            or pd.concat([self.scored["speaker"], self.earlier["speaker"]]).nunique() >= MIN_SPEAKERS
        )

    @property
    def earlier_votes(self) -> pd.DataFrame:
        """What was said before: the columns of `timed`, without what people rejected."""
        return self.earlier[self.counted].drop(columns="received_at")

    @property
    def new_votes(self) -> pd.Series:
        """`newcomer` of the rows of `timed` and then of `earlier_votes`."""
        return pd.Series(self.newcomer[np.r_[np.ones(len(self.scored), bool), self.counted]])


@dataclass(frozen=True, slots=True)
class Finder:
    """One way to find campaigns: `find` is called with the share of `campaign_alpha` it may spend, where `able`."""

    able: Callable[[BatchView], bool]
    find: Callable[[BatchView, float], list[Campaign]]
    compares: Callable[[BatchView], bool]
    """Whether the view has what this finder compares; one that has not finds nothing, whatever is there."""
    votes: bool = False
    """True if the finder compares votes; it is then also run on canonicalised free text."""


def _text(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import near_duplicate_text

    sketches = read_sketches(view.scored)
    if sketches is None:
        return []
    records = view.remembered("sketch")
    sketches_before = read_sketches(records) if len(records) else None
    earlier = None if sketches_before is None else (records, sketches_before)
    contract = view.contract
    return near_duplicate_text(
        view.scored,
        sketches,
        alpha=alpha,
        seed=contract.policy.seed,
        earlier=earlier,
        rated=_rated(contract),
        pasted=contract.pasted,
    )


_MOSTLY = 0.5
"""Share of the records that have the text of an item with several raters, from which a `text` is what they rate: less
may be reviews, which raters write, and a campaign of equal ones about a few items."""


def _rated(contract: Contract) -> float | None:
    """Return what `near_duplicate_text` is told of a feed's texts: None where speakers wrote them."""
    if not contract.vote or contract.has("author_id"):
        return None
    return _MOSTLY if contract.has("text") else 0.0


def _copies(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.copies import copies, sketch_records

    sketches = read_sketches(view.scored)
    if sketches is None:
        return []
    contract, records = view.contract, view.remembered("sketch")
    before = read_sketches(records) if len(records) else None
    known = None
    if view.trusted is not None and len(view.trusted) and set(contract.texts) <= set(view.trusted):
        known = sketch_records(view.trusted, contract.texts, sourced=contract.speaker is not None)
    earlier = None if before is None else (records, before)
    return copies(view.scored, sketches, alpha=alpha, trusted=known, earlier=earlier, seed=contract.policy.seed)


def _vectors(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.vectors import near_duplicate_vectors

    vectors = read_vectors(view.scored)
    if vectors is None:
        return []
    records = view.earlier[view.counted].reset_index(drop=True)
    vectors_before = read_vectors(records) if len(records) else None
    earlier = (
        None if vectors_before is None or vectors_before.shape[1] != vectors.shape[1] else (records, vectors_before)
    )
    seed, trusted = view.contract.policy.seed, view.trusted_vectors
    return near_duplicate_vectors(view.scored, vectors, trusted=trusted, earlier=earlier, alpha=alpha, seed=seed)


def _lockstep(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns import lockstep

    return lockstep(view.timed, alpha=alpha, earlier=view.earlier_votes)


def _agreement(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.agreement import agreement

    return agreement(view.timed, alpha=alpha, newcomer=view.new_votes, earlier=view.earlier_votes)


def _co_rating(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.co_rating import co_rating

    return co_rating(view.timed, alpha=alpha, earlier=view.earlier_votes)


def _cohort_traits(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.cohort_traits import cohort_traits

    return cohort_traits(view.timed, alpha=alpha, newcomer=view.new_votes, earlier=view.earlier_votes)


def _camps(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.camps import camps

    return camps(view.timed, alpha=alpha, newcomer=view.new_votes, earlier=view.earlier_votes)


def _rare_claims(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.claims import rare_claims

    return rare_claims(
        view.scored, alpha=alpha, source_alpha=_of_one_source(view), earlier=view.remembered("words.reply")
    )


def _patient_raters(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.raters import patient_raters

    seed = view.contract.policy.seed
    return patient_raters(
        view.scored, alpha=min(alpha, _of_one_source(view)), earlier=view.remembered("words.reply"), seed=seed
    )


def _prompt_triggers(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.prompts import prompt_triggers

    return prompt_triggers(
        view.scored,
        alpha=alpha,
        source_alpha=_of_one_source(view),
        earlier=view.remembered("words.reply"),
        seed=view.contract.policy.seed,
    )


def _pushed_words(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.pushed_words import pushed_words

    return pushed_words(
        view.scored, alpha=alpha, earlier=view.remembered("words.reply"), seed=view.contract.policy.seed
    )


def _trusted_texts(view: BatchView) -> list[str] | None:
    there = view.trusted is not None and "text" in view.trusted
    return view.trusted["text"].dropna().astype("str").tolist() if there and view.trusted is not None else None


def _collisions(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.collisions import QUESTIONS, collisions

    earlier, seed = view.remembered(QUESTIONS), view.contract.policy.seed
    return collisions(view.scored, alpha=alpha, trusted=_trusted_texts(view), earlier=earlier, seed=seed)


def _hidden_text(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.hidden_text import HIDDEN, hidden_text

    rate, earlier = view.contract.policy.false_quarantine_rate, view.remembered(HIDDEN)
    return hidden_text(view.scored, rate=rate, alpha=alpha, trusted=_trusted_texts(view), earlier=earlier)


def _turned_preferences(view: BatchView, alpha: float) -> list[Campaign]:
    from poison_guard.signals.campaigns.preferences import TRAITS_OF_REPLIES, turned_preferences

    return turned_preferences(view.scored, alpha=alpha, earlier=view.remembered(TRAITS_OF_REPLIES))


def _asks(view: BatchView) -> bool:
    """Whether records have a prompt: a column, or two replies that begin with it."""
    return "words.asked" in view.scored and (view.contract.has("prompt") or view.contract.has("chosen", "rejected"))


def _of_one_source(view: BatchView) -> float:
    """Chance at which a single source is found: per source, so a tenth of what a source is held at."""
    return min(view.contract.policy.source_alpha / 10, view.contract.policy.campaign_alpha)


def _has_ages(view: BatchView) -> bool:
    return bool(view.contract.vote) and bool(view.scored["source_since"].notna().any())


def _has_timed_votes(view: BatchView) -> bool:
    return bool(view.contract.vote) and bool(view.scored["observed_at"].notna().any())


def _rates(view: BatchView) -> bool:
    """Whether votes are ratings: raters choose what they rate, and people of one taste agree without knowing it."""
    return view.contract.rates


def _has_texts(view: BatchView) -> bool:
    sketches = read_sketches(view.scored)
    return sketches is not None and bool((sketches != EMPTY).any())


_COMPANY = 4
"""Sources that must answer one item before groups among them can show."""
_FIRST = 4096
"""Votes looked at first: in a feed whose items have several answers, few votes show it."""


def most_voters(votes: pd.DataFrame) -> int:
    """Return the most sources that answered one item of ``item_id, source_id, vote``; from four on, at least four."""
    most = 0
    for part in (votes.head(_FIRST), votes):
        whole = part.dropna(subset=["item_id", "source_id", "vote"])
        item, source = (pd.factorize(whole[name])[0].astype(np.int64) for name in ("item_id", "source_id"))
        pairs = np.unique(item * (source.max(initial=0) + 1) + source)
        most = int(np.bincount(pairs // (source.max(initial=0) + 1)).max(initial=0)) if len(pairs) else 0
        if most >= _COMPANY or len(part) == len(votes):
            break
    return most


def _dated(view: BatchView) -> bool:
    """Whether times or ages are known: without both, who copies whom looks like who likes the same joke."""
    return bool(view.scored["observed_at"].notna().any() or view.scored["source_since"].notna().any())


def _in_crowd(view: BatchView) -> bool:
    from poison_guard.signals.campaigns.claims import MIN_CROWD

    own = view.scored["source_id"]
    return own.nunique() >= MIN_CROWD or pd.concat([own, view.earlier["source_id"]]).nunique() >= MIN_CROWD


def _plausibility(kind: str) -> Finder:
    """Return the finder of one kind of implausible source; one alone is judged by trusted records."""

    def able(view: BatchView) -> bool:
        return view.contract.has("source_id", *NEEDED[kind]) and (kind != "even_timing" or view.contract.has("device"))

    def find(view: BatchView, alpha: float) -> list[Campaign]:
        proved = view.scored["proof"].notna() if "proof" in view.scored else True
        mine = view.scored if proved is True else view.scored[proved].reset_index(drop=True)
        return implausible(kind, mine, view.trusted, alpha=alpha)

    return Finder(able, find, lambda view: view.trusted is not None and len(view.trusted) > 0)


FINDERS: Mapping[str, Finder] = {
    "near_duplicate_text": Finder(lambda view: _has_texts(view) and view.sourced, _text, _dated),
    "copies": Finder(lambda view: _has_texts(view) and not view.sourced, _copies, lambda view: True),
    "near_duplicate_vectors": Finder(
        lambda view: read_vectors(view.scored) is not None, _vectors, lambda view: view.sourced
    ),
    "lockstep": Finder(_has_timed_votes, _lockstep, lambda view: view.voters >= _COMPANY, votes=True),
    "agreement": Finder(
        lambda view: bool(view.contract.vote) and not _rates(view),
        _agreement,
        lambda view: view.voters >= _COMPANY,
        votes=True,
    ),
    "camps": Finder(
        lambda view: bool(view.contract.vote) and not _rates(view),
        _camps,
        lambda view: view.voters >= _COMPANY,
        votes=True,
    ),
    "co_rating": Finder(_rates, _co_rating, lambda view: view.voters >= _COMPANY),
    "cohort_traits": Finder(_has_ages, _cohort_traits, lambda view: view.voters >= _COMPANY, votes=True),
    "rare_claims": Finder(lambda view: "words.reply" in view.scored, _rare_claims, _in_crowd),
    "patient_raters": Finder(lambda view: "words.reply" in view.scored, _patient_raters, _in_crowd),
    "pushed_words": Finder(lambda view: "words.reply" in view.scored, _pushed_words, _in_crowd),
    "collisions": Finder(lambda view: "words.questions" in view.scored, _collisions, _in_crowd),
    "hidden_text": Finder(lambda view: "words.hidden" in view.scored, _hidden_text, lambda view: True),
    "turned_preferences": Finder(lambda view: "words.preferred" in view.scored, _turned_preferences, _in_crowd),
    "prompt_triggers": Finder(_asks, _prompt_triggers, _in_crowd),
    **{kind: _plausibility(kind) for kind in NEEDED},
}


def finders_that_compare(view: BatchView) -> frozenset[str]:
    """Return the finders that have something to compare in this view; the others cannot find anything."""
    return frozenset(name for name, finder in FINDERS.items() if finder.able(view) and finder.compares(view))


def find_campaigns(view: BatchView, alike: BatchView | None = None) -> tuple[Campaign, ...]:
    """Return the campaigns that all finders find in the batch; those that share records are one.

    `alike` is the view with free text written alike: finders that compare votes look at it as well. Each finder may
    spend an equal share of the policy's `campaign_alpha`. `SignalError` where a partition lacks what campaigns are
    found by: its records would pass unlooked at.
    """
    _check_complete(view.scored, view.contract)
    pairs = [(view, finder) for finder in FINDERS.values()]
    if alike is not None:
        pairs += [(alike, finder) for finder in FINDERS.values() if finder.votes]
    able = [(seen, finder) for seen, finder in pairs if finder.able(seen)]
    share = view.contract.policy.campaign_alpha / max(1, len(able))
    return merge_campaigns([campaign for seen, finder in able for campaign in finder.find(seen, share)])


def _check_complete(scored: pd.DataFrame, contract: Contract) -> None:
    for name in (c for c in ("crash.anomaly", "crash.campaign") if c in scored):  # vectors, and traces of texts
        for why in scored[name].dropna().head(1):
            raise SignalError(str(why))
    if contract.features and len(scored) > 1 and read_vectors(scored) is None:
        raise SignalError("there is no model to compare feature vectors by")


def read_sketches(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the MinHash sketches ``(n, K)`` uint32, or None where the feed has no text or the batch no record."""
    if scored.empty or "sketch" not in scored or scored["sketch"].isna().any():
        return None
    joined = b"".join(scored["sketch"])
    return np.frombuffer(joined, dtype=np.uint32).reshape(len(scored), -1)


def read_vectors(scored: pd.DataFrame) -> np.ndarray | None:
    """Return the scaled feature vectors ``(n, d)`` float32, or None where the feed has no features."""
    columns = [c for c in scored if c.startswith("vector.")]
    if not columns:
        return None
    return scored[sorted(columns, key=lambda c: int(c.split(".")[1]))].to_numpy(np.float32)
