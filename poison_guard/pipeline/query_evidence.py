"""The query signal at work: what each record asks as a vector, and the streams of a batch that no person looks like."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.cohorts import cohort_keys
from poison_guard.pipeline.content import Content, content_of, record_content
from poison_guard.pipeline.label_evidence import as_examples, common_shape, rows_of
from poison_guard.records import Campaign, Examples, Place, Reason, State
from poison_guard.retrain.inputs import TextInputs
from poison_guard.signals.campaigns.finders import read_vectors
from poison_guard.signals.campaigns.findings import make_campaign
from poison_guard.signals.queries import KnownStreams, Plane, Queries, Stream, find_streams
from poison_guard.signals.queries.streams import FEWEST_SOURCES, SIZES

__all__ = ["QueryReader", "find_extraction", "fit_queries", "too_few"]

_SHADOW = 256  # random directions that n-grams of texts are projected on: distances stay within some 10 %
_SECOND = pd.Timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class QueryReader:
    """How records become vectors, and what trusted streams look like."""

    content: Content
    like: pd.DataFrame
    """Trusted content that says what kind each column of a table is of."""
    shape: tuple[int, ...] | None
    """Shape of the trusted images; None for texts and tables."""
    texts: TextInputs | None
    plane: Plane
    known: KnownStreams | None
    """None where too few trusted sources asked enough."""

    def scored(self, records: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
        """Return ``vector.*``, and ``crash.query`` with why a record is in no stream; missing where it is in one.

        `keys` are the ``speaker`` and ``observed_at`` that the records are known by.
        """
        vectors, flaws = self.vectors(records)
        why = np.full(len(records), None, dtype=object)
        for row, reason in flaws.items():
            why[row] = f"a query cannot be compared: {reason.args['why']}"
        why[keys["speaker"].isna().to_numpy()] = "a query has no source"
        why[keys["observed_at"].isna().to_numpy()] = "a query has no time that can be used"
        columns: dict[str, pd.Series] = {f"vector.{i}": pd.Series(column) for i, column in enumerate(vectors.T)}
        return pd.DataFrame(columns | {"crash.query": pd.Series(why, dtype="str")})

    def vectors(self, records: pd.DataFrame) -> tuple[np.ndarray, dict[int, Reason]]:
        """Return the vector of each record ``(n, k)`` float32, NaN where there is none, and why."""
        examples, at, flaws = as_examples(_rows(records, self.content), self.content, self.like, self.shape)
        found = self.plane.vectors(_flat(examples, self.texts))
        vectors = np.full((len(records), found.shape[1]), np.nan, dtype=np.float32)
        vectors[at] = found
        return vectors, dict(flaws)


def fit_queries(contract: Contract, state: State) -> QueryReader | Reason:
    """Return how a feed's queries are read, fitted on its trusted records, or why there is nothing to compare with."""
    trusted = pd.concat([state.reference, state.calibration], ignore_index=True)
    if len(trusted) < 2:
        return _few_sources()
    content = content_of(contract)
    content = replace(content, columns=tuple(name for name in content.columns if name != "response"))
    like = record_content(trusted, content)
    shape = common_shape(list(like[like.columns[0]])) if content.kind == "image" else None
    examples, at, _ = as_examples(_rows(trusted, content), content, like, shape)
    if len(examples) < 2:
        return Reason("signal_missing", {"signal": "query", "why": "no trusted query has content that can be compared"})
    texts = TextInputs.fit(examples) if content.kind == "text" else None
    mixed = np.random.default_rng(contract.policy.seed).permutation(len(examples))
    plane = Plane.fit(_flat(examples.take(mixed), texts), units=content.kind == "table")
    reader = QueryReader(content, like, shape, texts, plane, None)
    rows = trusted.iloc[at].reset_index(drop=True)
    lead = pd.DataFrame({name: rows.get(role) for name, role in _roles(contract).items()}, index=rows.index)
    return replace(reader, known=KnownStreams.of(_queries(lead, plane.vectors(_flat(examples, texts)), len(rows))))


def too_few(reader: QueryReader) -> Reason | None:
    """Return why no stream can be judged; None where trusted streams say what people do."""
    return _few_sources() if reader.known is None else None


def _few_sources() -> Reason:
    why = f"{FEWEST_SOURCES} trusted sources with {SIZES[0]} different queries each, with times, are needed; enter more"
    return Reason("signal_missing", {"signal": "query", "why": why})


def _roles(contract: Contract) -> dict[str, str]:
    return {
        "source": str(contract.speaker),
        "observed_at": "observed_at",
        "vote": "answer",
        "since": "source_since",
        "place": "place",
    }


def _rows(records: pd.DataFrame, content: Content) -> pd.DataFrame:
    """Return records as rows that examples are made of; a query has no label."""
    return rows_of(records.assign(label=""), content)


def _flat(examples: Examples, texts: TextInputs | None) -> np.ndarray:
    """Return queries ``(n, d)``: pixels, the numbers of a table, or the shadow of the n-grams of texts."""
    if texts is not None:
        return np.asarray(texts.encode(examples) @ _shadow(*texts.shape)) if len(examples) else np.zeros((0, _SHADOW))
    return np.asarray(examples.inputs, dtype=np.float64).reshape(len(examples), -1)


@functools.cache
def _shadow(buckets: int) -> np.ndarray:
    """Return ``(buckets, _SHADOW)`` random directions.

    References: Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space" (1984).
    """
    drawn = np.random.default_rng(0).standard_normal((buckets, _SHADOW), dtype=np.float32)
    return drawn / np.float32(np.sqrt(_SHADOW))


def _queries(frame: pd.DataFrame, vectors: np.ndarray, n_own: int) -> Queries:
    """Return queries of ``source, observed_at, vote, since, place``, the first `n_own` of this batch."""
    at = pd.to_datetime(frame["observed_at"], utc=True)
    epoch = pd.Timestamp(0, tz="UTC")
    return Queries(
        vectors=vectors,
        source=pd.factorize(frame["source"])[0],
        seconds=((at - epoch) / _SECOND).to_numpy(np.float64, na_value=np.nan),
        answers=pd.factorize(frame["vote"])[0],
        cohort=pd.factorize(cohort_keys(frame["since"], frame["place"]))[0],
        own=np.arange(len(frame)) < n_own,
    )


def find_extraction(
    scored: pd.DataFrame, earlier: pd.DataFrame, reader: QueryReader, contract: Contract
) -> tuple[Campaign, ...]:
    """Return what no honest stream looks like, a campaign each; `earlier` records are evidence and named apart."""
    if reader.known is None:
        return ()
    before = earlier[(earlier["place"] != Place.REJECTED.value).to_numpy()].reset_index(drop=True)
    vectors, old = read_vectors(scored), read_vectors(before) if len(before) else None
    if vectors is None:
        return ()
    before = before if old is not None and old.shape[1] == vectors.shape[1] else before.iloc[:0]
    both = pd.concat([scored, before.drop(columns="place")], ignore_index=True)
    lead = both[["speaker", "observed_at", "vote", "source_since"]].set_axis(
        ["source", "observed_at", "vote", "since"], axis=1
    )
    # where a source is is not remembered: it was where it is now
    places = scored.get("trait.place", pd.Series(None, index=scored.index, dtype="str"))
    of_source = places.groupby(scored["speaker"]).first()
    lead = lead.assign(place=lead["source"].map(of_source))
    every = vectors if not len(before) or old is None else np.vstack([vectors, old])
    policy = contract.policy
    alpha = min(policy.source_alpha, policy.campaign_alpha)
    streams = find_streams(_queries(lead, every, len(scored)), reader.known, alpha=alpha)
    found = [_campaign(both, stream, len(scored)) for stream in streams]
    return tuple(one for one in found if one.record_ids)


def _campaign(both: pd.DataFrame, stream: Stream, n_own: int) -> Campaign:
    members = both.iloc[stream.rows]
    args = {"n_records": len(members), "n_sources": int(members["speaker"].nunique()), "window": stream.size}
    return make_campaign(
        both, stream.rows, kind=stream.kind, p=stream.p, strength=1.0, who="speaker", args=args, n_own=n_own
    )
