"""Small attacks made of a feed's own trusted records, for `tune`: what they are and which records they would send."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from poison_guard.config import Contract

__all__ = ["own_attacks"]


_ROWS = 200  # records of an attack
_MOVED = 2.0  # interquartile ranges
_RECORDINGS, _JITTER = 10, 0.05  # sessions sent again, each 20 times, with this share of the range as noise
_TEXTS = 5
_ITEMS, _VOICES = 20, 8  # items that as many new sources give one wrong answer to
_DAY = pd.Timedelta(days=1)


def own_attacks(contract: Contract, records: pd.DataFrame, *, seed: int = 0) -> Mapping[str, pd.DataFrame]:
    """Return attack name to its records, made of honest `records` (columns of `Batch.records`, at least two rows).

    ``moved``: every third feature lies two interquartile ranges off. ``mixtures``: each feature of a record comes from
    another honest record. ``replays``: sessions sent again with a little noise by new sources. ``copies``: a text that
    many new sources repeat with a word changed. ``agreed``: new sources that give the same wrong vote to the same
    items. Only those that the feed's columns allow; every one is the same for the same seed. The honest rows themselves
    are not changed.
    """
    rng = np.random.default_rng(seed)
    attacks: dict[str, pd.DataFrame] = {}
    columns = [f"feature.{name}" for name in contract.features]
    if len(columns) > 1:
        attacks["mixtures"] = _mixtures(records, columns, rng)
    if columns:
        attacks["moved"] = _moved(records, columns, rng)
        attacks["replays"] = _replays(records, columns, rng)
    if contract.texts and contract.speaker:
        attacks["copies"] = _copies(records, contract.texts, rng)
    vote = contract.vote
    if vote and len(records[vote].dropna().unique()) > 1:
        attacks["agreed"] = _agreed(records, vote, rng)
    return {name: _sent(frame, name) for name, frame in attacks.items()}


def _mixtures(records: pd.DataFrame, columns: list[str], rng: np.random.Generator) -> pd.DataFrame:
    frame = _drawn(records, rng.integers(0, len(records), _ROWS))
    mixed = {name: records[name].take(rng.integers(0, len(records), _ROWS)).to_numpy() for name in columns}
    values = {name: pd.Series(values, dtype=records[name].dtype) for name, values in mixed.items()}
    return frame.assign(**values, voice=np.arange(_ROWS))


def _moved(records: pd.DataFrame, columns: list[str], rng: np.random.Generator) -> pd.DataFrame:
    frame = _drawn(records, rng.integers(0, len(records), _ROWS)).assign(voice=np.arange(_ROWS))
    able = [name for name in columns if _numeric(records[name])]
    which = np.argsort(rng.random((_ROWS, len(able))), axis=1) < -(-len(able) // 3)
    for k, name in enumerate(able):
        far = _MOVED * _spread(records[name]) * rng.choice((-1.0, 1.0), _ROWS)
        frame[name] = frame[name].to_numpy(np.float64, na_value=np.nan) + np.where(which[:, k], far, 0.0)
    return frame


def _replays(records: pd.DataFrame, columns: list[str], rng: np.random.Generator) -> pd.DataFrame:
    at = np.resize(rng.permutation(len(records))[:_RECORDINGS], _ROWS)
    frame = _drawn(records, at).assign(voice=np.arange(_ROWS))
    for name in columns:
        if _numeric(records[name]):
            noise = _JITTER * _spread(records[name]) * rng.standard_normal(_ROWS)
            frame[name] = frame[name].to_numpy(np.float64, na_value=np.nan) + noise
    return _soon(frame, rng)


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _spread(column: pd.Series) -> float:
    """Return the interquartile range of the finite values, 0 without any."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.25, 0.75)) if len(finite) else (0.0, 0.0)
    return float(high - low)


def _copies(records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator) -> pd.DataFrame:
    role = texts[0]
    long = np.argsort(-records[role].astype("str").str.len().to_numpy(), kind="stable")
    chosen = rng.choice(long[: max(_TEXTS, len(long) // 2)], _TEXTS)
    frame = _drawn(records, np.resize(chosen, _ROWS)).assign(voice=np.arange(_ROWS))
    words = [word for text in records[role].dropna().astype("str").head(_ROWS) for word in text.split()] or ["so"]
    for name in texts:
        edited = [_edited(str(text), words, rng) for text in frame[name].fillna("")]
        frame[name] = pd.Series(edited, dtype="str")
    return _soon(frame, rng)


def _edited(text: str, words: list[str], rng: np.random.Generator) -> str:
    parts = text.split()
    if parts:
        parts[int(rng.integers(len(parts)))] = words[int(rng.integers(len(words)))]
    return " ".join(parts)


def _agreed(records: pd.DataFrame, vote: str, rng: np.random.Generator) -> pd.DataFrame:
    known = records[records[vote].notna() & records["item_id"].notna()]
    items = known.drop_duplicates("item_id")
    items = items.iloc[rng.permutation(len(items))[:_ITEMS]]
    values = known[vote].drop_duplicates().sort_values().to_list()
    wrong = [values[(values.index(value) + 1) % len(values)] for value in items[vote]]
    each = pd.concat([items.assign(**{vote: wrong})] * _VOICES, ignore_index=True)
    each = each.assign(**{vote: each[vote].astype(records[vote].dtype)})
    return _soon(each.assign(voice=np.repeat(np.arange(_VOICES), len(items))), rng)


def _drawn(records: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    return records.take(at).reset_index(drop=True)


def _soon(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with their times within an hour."""
    if "observed_at" not in frame:
        return frame
    last = frame["observed_at"].max()
    return frame.assign(observed_at=last - pd.to_timedelta(rng.integers(0, 3600, len(frame)), unit="s"))


def _sent(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows under new ids, sent by accounts a day old; ``voice`` numbers the account of each."""
    ids = pd.Series([f"{name}-{row:05d}" for row in range(len(frame))], dtype="str")
    voices = pd.Series([f"{name}-voice-{voice:04d}" for voice in frame["voice"]], dtype="str")
    sent = frame.drop(columns="voice").assign(record_id=ids, content_hash=ids)
    for role in ("source_id", "author_id"):
        if role in sent:
            sent[role] = voices
    if "source_since" in sent and "observed_at" in sent:
        sent["source_since"] = sent["observed_at"] - _DAY
    return sent
