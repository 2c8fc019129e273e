"""The tables ``[policy]``, ``[gate]`` and ``[retrain]`` of a contract, one dataclass each; annotations give the ranges.

The first two are stored whole by their hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from poison_guard.config.tables import in_range, matching, one_of

__all__ = ["MODELS", "SIGNALS", "GatePolicy", "Policy", "RetrainConfig"]

SIGNALS: Mapping[str, Callable[[Any], Any]] = {
    "validation": lambda feed: True,
    "source": lambda feed: feed.vote,
    "campaign": lambda feed: not feed.queries and (feed.texts or (feed.speaker and (feed.features or feed.vote))),
    "anomaly": lambda feed: feed.features and not feed.queries,
    "label": lambda feed: (
        feed.has("label")
        and not (feed.vote or feed.items or feed.queries)
        and (feed.has("image") or feed.texts or feed.features)
    ),
    "query": lambda feed: feed.queries and feed.speaker and (feed.has("image") or feed.texts or feed.features),
    "signature": lambda feed: feed.signature and "signature" in (feed.policy.required or ()),  # who may send unsigned
    "content": lambda feed: feed.texts and "content" in (feed.policy.required or ()),  # weak: only on request
}
"""Families of evidence that a feed may require, and whether a contract has the roles for each."""

_Share = Annotated[float, in_range(0, 1, above=True)]
_Error = Annotated[float, in_range(0, 0.5, above=True)]
_Days = Annotated[int, in_range(1, 3650)]
_Seed = Annotated[int, in_range(0, 2**31 - 1)]


class _StoredByHash:
    """A dataclass of thresholds that verdicts and decisions name by its hash."""

    __slots__ = ()

    @property
    def body(self) -> str:
        """The canonical JSON of all thresholds, as it is stored."""
        thresholds = dataclasses.asdict(self)  # type: ignore[call-overload]  # its subclasses are dataclasses
        if thresholds.get("encoder", "") is None:
            del thresholds["encoder"]  # policies of before there were encoders keep their hash
        return json.dumps(thresholds, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of `body`, hex: whoever reads a stored policy can tell that it is whole."""
        return hashlib.sha256(self.body.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Policy(_StoredByHash):
    """Thresholds of one feed; the defaults are one for all feeds."""

    false_quarantine_rate: Annotated[float, in_range(0, 0.5, above=True)] = 0.01
    """Share of honest records held for their own content, per group; in (0, 0.5]."""
    required: Annotated[tuple[str, ...], one_of(SIGNALS)] | None = None
    """Signals without which nothing is accepted; None: those that the feed's roles allow."""
    review_budget: Annotated[int, in_range(0, 1_000_000)] = 500
    """Queue entries a reviewer reads in a day; ranks, never decides."""
    source_alpha: Annotated[float, in_range(0, 0.1, above=True)] = 0.001
    """A source is held when an honest one would look like it with at most this chance."""
    campaign_alpha: Annotated[float, in_range(0, 0.1, above=True)] = 0.001
    """Chance, per feed and run, that honest independent sources are taken for one campaign."""
    reject_risk: Annotated[float, in_range(0.5, 1, above=True)] = 0.999
    """Risk from which a record is rejected instead of quarantined; only source evidence gets that far."""
    max_adopted_error: _Error = 0.01
    """Share of wrong labels among those adopted: promised in the mean, by controls, audits and how sources agree."""
    label_promise: Annotated[str, one_of(("mean", "bound"))] = "mean"
    """`bound` adopts only what controls and audits certify: P(share above `max_adopted_error`) at most 5 %."""
    min_answers: Annotated[int, in_range(1, 1000)] = 1
    """Accepted answers for its label that an item needs, however certain it is."""
    adopt_probability: Annotated[float, in_range(0.5, 1, above=True)] | None = None
    """Chance that each adopted label needs; None: as much as the promised error asks for."""
    encoder: (
        Annotated[str, matching(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "an import path such as `package.module:name`")] | None
    ) = None
    """What turns content into vectors for the `label` signal, ``package.module:name``; None: what comes with the
    guard (gradients of images, columns of tables, words and pieces of words of texts)."""
    audit_rate: Annotated[float, in_range(0, 1)] = 0.005
    """Share of accepted records put before a reviewer all the same, so that misses are measured."""
    second_review_rate: Annotated[float, in_range(0, 1)] = 0.05
    """Share of single decisions that a second reviewer makes too, without being told of the first."""
    known_rate: Annotated[float, in_range(0, 1)] = 0.02
    """Records of known answer that a reviewer is asked about, for each that they decide."""
    expire_days: _Days = 30
    """Days after which unread queue entries count as excluded; they stay recoverable."""
    lateness_days: Annotated[int, in_range(0, 3650)] = 30
    """`observed_at` is believed from this many days before to 1 hour after the record was received; a batch most of
    which is older is history, and believed as far back as it goes."""
    memory_days: _Days = 30
    """Days for which a record is remembered, so that what acts together over several batches shows."""
    memory_rows: Annotated[int, in_range(0, 5_000_000)] = 100_000
    """Newest records that are remembered; 0: none. A larger batch is remembered by a random sample of so many."""
    half_life: Annotated[float, in_range(0, 1_000_000)] = 0.0
    """Verified answers of a source after which an earlier one counts half in its reliability; 0: none is forgotten."""
    seed: _Seed = 0
    """Seed of every random choice made in scoring."""


@dataclass(frozen=True, slots=True)
class GatePolicy(_StoredByHash):
    """Limits of one feed's gate; the defaults are one for all feeds."""

    false_alarm_rate: Annotated[float, in_range(0, 0.2, above=True)] = 0.02
    """Chance that an honest snapshot does not pass, over all statistical checks together; in (0, 0.2]."""
    max_label_error: _Share = 0.03
    """Share of examples whose label their trusted neighbours contradict, beyond the share honest data has."""
    max_drop: _Share = 0.03
    """Accuracy, in [0, 1], that may be lost over all trusted examples."""
    max_class_drop: _Share = 0.15
    """Accuracy that any one class or slice may lose."""
    max_label_shift: _Share = 0.15
    """How far any label's share may lie from its share in the trusted set and in the anchor."""
    max_source_share: _Share = 0.05
    """Share of the snapshot that may rest on one source (three times an even share where sources are few)."""
    max_new_source_examples: Annotated[int, in_range(1, 1_000_000_000)] = 250
    """Examples that may rest on one source whose account was new; a count, since some 250 poisoned documents are
    enough whatever the corpus size (arXiv 2510.07192)."""
    max_new_share: _Share = 0.5
    """Share of the snapshot that may rest on new sources together."""
    max_missed: _Share = 0.02
    """Share of accepted records that audits may show to be wrong."""
    min_trusted: Annotated[int, in_range(1, 1_000_000)] = 20
    """Trusted examples that each label needs."""
    trusted_days: _Days = 180
    """Days after which a trusted set that nobody added to is stale."""
    new_days: _Days = 30
    """Days for which a source counts as new."""
    admission_days: Annotated[int, in_range(1, 365)] = 7
    """Days for which an admission holds."""
    seed: _Seed = 0
    """Seed of every random choice made in measuring."""


MODELS = ("image-cnn", "tabular-mlp", "text-linear")
"""Models that come with the guard; anything else is an import path ``package.module:name``."""

_ModelName = Annotated[
    str,
    matching(
        rf"{'|'.join(MODELS)}|[A-Za-z_][\w.]*:[A-Za-z_]\w*",
        f"one of {', '.join(MODELS)} or an import path such as `package.module:name`",
    ),
]


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    """Settings of a training; None takes what the model and the data call for."""

    model: _ModelName | None = None
    """One of `MODELS`, or an import path; None: by what the feed carries (image, text, else features)."""
    epochs: Annotated[int, in_range(1, 10_000)] | None = None
    """Passes over the examples; None: as many as make 1,000 steps, from 10 to 40."""
    batch_size: Annotated[int, in_range(1, 65_536)] | None = None
    """Examples of one step; None: a 32nd of them, from 16 to 100."""
    learning_rate: Annotated[float, in_range(0, 10, above=True)] | None = None
    """Step size of the optimiser; None: 0.005, for text 0.05."""
    epsilon: Annotated[float, in_range(0, 10)] | None = None
    """Radius the model is trained and tested to withstand: L-infinity in [0, 1] pixel values for images and in standard
    deviations for tables, L2 relative to the embedding's norm for text. 0 trains without an adversary; None: 0.05 for
    tables and texts, 0.3 for grey images (less for small ones), 8/255 for colour images."""
    adversary: Annotated[str, one_of(("fast", "pgd", "trades", "certified"))] = "fast"
    """Who the training is against: `fast`, one gradient step carried from epoch to epoch; `pgd`, seven steps; `trades`,
    seven steps that change the answer, weighed against clean accuracy; `certified`, bounds of all inputs within the
    radius (image-cnn and tabular-mlp)."""
    augment: Annotated[tuple[str, ...], one_of(("shift", "rotate", "noise", "pixels", "patch"))] = ()
    """Changes each example gets at random while training: images all of them, tables `noise` and `pixels` (cells),
    texts none."""
    squeeze: Annotated[tuple[str, ...], one_of(("round", "smooth"))] = ()
    """What the model does to each input first: `round` to few grey levels, steps of a column, or the normal form of a
    text; `smooth` images by a 2 x 2 median."""
    members: Annotated[int, in_range(1, 6)] = 1
    """Models that answer together, of different algorithms in turn: two networks and gradient-boosted trees."""
    combine: Annotated[str, one_of(("mean", "vote"))] = "mean"
    """How members answer: the mean of their probabilities, or a vote, ties by the mean."""
    escalate: Annotated[float, in_range(0, 0.5)] = 0.0
    """Share of clean inputs that the model hands on to a person instead of answering; 0: it always answers."""
    distil: bool = False
    """Whether one model learns from the answers of all members (and of the champion) and takes their place."""
    parts: Annotated[int, in_range(1, 1_000)] = 1
    """Parts that hashed cohorts of sources (week of registration and network block, else accounts) are trained in,
    apart, with the trusted set in each; they vote, and `evaluate` says what lying cohorts cannot change. 1: none."""
    image_side: Annotated[int, in_range(8, 256)] = 32
    """Side in pixels of the square to which a picture file (PNG, JPEG, WebP, BMP, GIF) is scaled that is larger."""
    pixel_max: Annotated[float, in_range(0, 1e9, above=True)] = 255.0
    """Value of a full pixel in the data."""
    mutable: tuple[str, ...] | None = None
    """Feature columns an adversary can change; None: all."""
    seed: _Seed = 0
    """Seed of every random choice made in training."""
