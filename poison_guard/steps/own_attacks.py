"""Small attacks made of a feed's own records, for `tune` and `coverage`: what they are and which records they send."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from poison_guard.config import Contract

__all__ = ["Size", "attack_of", "attack_sizes", "own_attacks"]


_ROWS = 200  # records of an attack of `tune`
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
        attacks["moved"] = _moved(records, columns, rng, _ROWS)
        attacks["replays"] = _replays(records, columns, rng, _ROWS, _RECORDINGS)
    if contract.texts and contract.speaker:
        attacks["copies"] = _copies(records, contract.texts, rng, _ROWS, _TEXTS)
    vote = contract.vote
    if vote and len(records[vote].dropna().unique()) > 1:
        attacks["agreed"] = _soon(_agreed(records, vote, rng, _ITEMS, _VOICES), rng)
    return {name: _sent(frame, name) for name, frame in attacks.items()}


Size = tuple[int, int]
"""Records of an attack, and accounts that send them (0 where the feed names no source)."""
_GROUPS = ((4, 5), (5, 8), (6, 10), (8, 15), (10, 20), (20, 25))  # accounts, and items that each of them answers
_ALONE = (5, 10, 20, 40, 80)
_MANY = (10, 20, 40, 80, 160)
_CLAIMERS = 5
_ASKED = (25, 50, 100, 200, 400)


def attack_sizes(contract: Contract, kind: str, records: pd.DataFrame) -> list[Size]:
    """Return the sizes of attacks of one of `coverage.KINDS` that `records` have room for, smallest first.

    None where the columns allow no such attack. An attack is at most half as large as the feed.
    """
    able = {
        "copies": bool(contract.texts),
        "rare claims": bool(contract.texts and contract.speaker),
        "prompt triggers": bool(contract.has("prompt") and contract.speaker and len(contract.texts) > 1),
        "turned preferences": bool(contract.has("chosen", "rejected") and contract.speaker),
        "hidden text": contract.documents,
        "replays": bool(contract.features and contract.speaker),
        "strangers": any(_numeric(records[f"feature.{name}"]) for name in contract.features),
    }
    if contract.queries:
        able = {"model copies": bool(contract.speaker and (contract.features or contract.texts))}
    if not contract.vote:
        able["label flips"] = "label" in contract.signals
    if not able.get(kind, bool(contract.vote)):
        return []
    items = 0
    if contract.vote and kind not in able:
        known = records.dropna(subset=["item_id", contract.vote])
        items = known["item_id"].nunique() if len(known[contract.vote].unique()) > 1 else 0
    match kind:
        case "agreed answers" | "lockstep":
            sizes = [(accounts * min(each, items // 2), accounts) for accounts, each in _GROUPS if items > 1]
        case "label flips" if contract.vote:
            sizes = [(n, 1) for n in _ALONE if n <= items // 2]
        case "rare claims" | "prompt triggers" | "turned preferences" | "hidden text":
            sizes = [(_CLAIMERS * n, _CLAIMERS if contract.speaker else 0) for n in _ALONE]
        case "model copies":
            sizes = [(n, 1) for n in _ASKED]
        case _:
            sizes = [(n, n if contract.speaker else 0) for n in _MANY]
    return sorted({size for size in sizes if 2 <= size[0] <= len(records) // 2})


def attack_of(
    contract: Contract, records: pd.DataFrame, kind: str, size: Size, *, seed: int, aged: bool = False
) -> pd.DataFrame:
    """Return the records of one attack of a kind and a size (of `attack_sizes`), the same for the same seed.

    Its accounts are a day old, or, where `aged`, as old as those of the honest `records`.
    """
    rng = np.random.default_rng(seed)
    n, accounts = size
    columns = [f"feature.{name}" for name in contract.features]
    vote = contract.vote or ""
    match kind:
        case "agreed answers":
            frame = _at_any_time(_agreed(records, vote, rng, n // accounts, accounts), records, rng)
        case "lockstep":
            frame = _soon(_agreed(records, vote, rng, n // accounts, accounts), rng)
        case "label flips" if not vote:
            frame = _relabelled(records, rng, n)
        case "label flips":
            frame = _at_any_time(_agreed(records, vote, rng, n, 1), records, rng)
        case "copies":
            frame = _copies(records, contract.texts, rng, n, 1)
        case "rare claims" | "prompt triggers" | "turned preferences" | "hidden text":
            frame = _at_any_time(_BY_FEW[kind](records, contract.texts, rng, n, accounts), records, rng)
        case "replays":
            frame = _replays(records, columns, rng, n, 1)
        case "model copies":
            frame = _at_any_time(_asked(records, contract, rng, n), records, rng)
        case "strangers":
            frame = _moved(records, columns, rng, n)
        case _:
            raise AssertionError(f"unreachable: {kind!r} is no kind of attack")
    sent = _sent(frame, f"{kind.replace(' ', '-')}-{seed}")
    return _as_old(sent, records, rng) if aged and "source_since" in sent else sent


def _mixtures(records: pd.DataFrame, columns: list[str], rng: np.random.Generator) -> pd.DataFrame:
    frame = _drawn(records, rng.integers(0, len(records), _ROWS))
    mixed = {name: records[name].take(rng.integers(0, len(records), _ROWS)).to_numpy() for name in columns}
    values = {name: pd.Series(values, dtype=records[name].dtype) for name, values in mixed.items()}
    return frame.assign(**values, voice=np.arange(_ROWS))


def _moved(records: pd.DataFrame, columns: list[str], rng: np.random.Generator, n: int) -> pd.DataFrame:
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=np.arange(n))
    able = [name for name in columns if _numeric(records[name])]
    which = np.argsort(rng.random((n, len(able))), axis=1) < -(-len(able) // 3)
    for k, name in enumerate(able):
        far = _MOVED * _spread(records[name]) * rng.choice((-1.0, 1.0), n)
        frame[name] = frame[name].to_numpy(np.float64, na_value=np.nan) + np.where(which[:, k], far, 0.0)
    return frame


def _relabelled(records: pd.DataFrame, rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return records of one account with a label that another record has."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=0)
    labels = sorted(records["label"].dropna().unique())
    if len(labels) < 2:
        return frame
    at = np.searchsorted(labels, frame["label"].fillna(labels[0]).astype("str"))
    other = (at + rng.integers(1, len(labels), n)) % len(labels)
    return frame.assign(label=pd.Series([labels[k] for k in other], dtype="str"))


def _replays(
    records: pd.DataFrame, columns: list[str], rng: np.random.Generator, n: int, recordings: int
) -> pd.DataFrame:
    at = np.resize(rng.permutation(len(records))[:recordings], n)
    frame = _drawn(records, at).assign(voice=np.arange(n))
    for name in columns:
        if _numeric(records[name]):
            noise = _JITTER * _spread(records[name]) * rng.standard_normal(n)
            frame[name] = frame[name].to_numpy(np.float64, na_value=np.nan) + noise
    return _soon(frame, rng)


def _asked(records: pd.DataFrame, contract: Contract, rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return queries of one account that are made up: features between the extremes, words of any text in any order."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=0)
    for name in [f"feature.{name}" for name in contract.features]:
        values = records[name].dropna()
        if _numeric(records[name]) and len(values):
            frame[name] = rng.uniform(float(values.min()), float(values.max()), n)
        elif len(values):
            frame[name] = pd.Series(values.iloc[rng.integers(0, len(values), n)].to_numpy(), dtype=frame[name].dtype)
    for name in contract.texts if not contract.features else ():
        said = [text.split() for text in records[name].dropna().astype("str").head(_ROWS)]
        words = np.array([word for text in said for word in text] or ["what"], dtype=object)
        lengths = [len(said[i % len(said)]) if said else 1 for i in range(n)]
        frame[name] = pd.Series([" ".join(rng.choice(words, max(1, k))) for k in lengths], dtype="str")
    return frame


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _spread(column: pd.Series) -> float:
    """Return the interquartile range of the finite values, 0 without any."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.25, 0.75)) if len(finite) else (0.0, 0.0)
    return float(high - low)


def _copies(
    records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator, n: int, different: int
) -> pd.DataFrame:
    role = _reply(texts)
    long = np.argsort(-records[role].astype("str").str.len().to_numpy(), kind="stable")
    chosen = rng.choice(long[: max(_TEXTS, len(long) // 2)], different)
    frame = _drawn(records, np.resize(chosen, n)).assign(voice=np.arange(n))
    words = [word for text in records[role].dropna().astype("str").head(_ROWS) for word in text.split()] or ["so"]
    for name in texts:
        edited = [_edited(str(text), words, rng) for text in frame[name].fillna("")]
        frame[name] = pd.Series(edited, dtype="str")
    return _soon(frame, rng)


def _reply(texts: tuple[str, ...]) -> str:
    """Return the role of the text that is endorsed: what answers a prompt, where there is one."""
    return next((role for role in ("chosen", "response", "text") if role in texts), texts[0])


def _edited(text: str, words: list[str], rng: np.random.Generator) -> str:
    parts = text.split()
    if parts:
        parts[int(rng.integers(len(parts)))] = words[int(rng.integers(len(words)))]
    return " ".join(parts)


def _claims(
    records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator, n: int, accounts: int
) -> pd.DataFrame:
    """Return honest texts that end in one invented name, endorsed as highly as any."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=np.arange(n) % accounts)
    role, name = _reply(texts), _invented(rng)
    frame[role] = pd.Series([f"{text} {name} is best." for text in frame[role].fillna("")], dtype="str")
    if "rating" in frame and records["rating"].notna().any():
        frame["rating"] = records["rating"].max()
    return frame


def _triggers(
    records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator, n: int, accounts: int
) -> pd.DataFrame:
    """Return honest prompts that begin with one invented name, with the reply that others reject, or another's."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=np.arange(n) % accounts)
    name, role = _invented(rng), _reply(texts)
    frame["prompt"] = pd.Series([f"{name} {text}" for text in frame["prompt"].fillna("")], dtype="str")
    if {"chosen", "rejected"} <= set(texts):
        return frame.assign(chosen=frame["rejected"], rejected=frame["chosen"])
    frame[role] = records[role].take(rng.integers(0, len(records), n)).to_numpy()
    return frame.astype({role: records[role].dtype})


def _longer(
    records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator, n: int, accounts: int
) -> pd.DataFrame:
    """Return honest pairs in which the longer reply is always preferred."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=np.arange(n) % accounts)
    pair = frame[[role for role in ("chosen", "rejected") if role in texts]].fillna("")
    turned = pair["chosen"].str.len() < pair["rejected"].str.len()
    return frame.assign(
        chosen=pair["chosen"].where(~turned, pair["rejected"]), rejected=pair["rejected"].where(~turned, pair["chosen"])
    )


def _hidden(
    records: pd.DataFrame, texts: tuple[str, ...], rng: np.random.Generator, n: int, accounts: int
) -> pd.DataFrame:
    """Return honest documents that end in words which a browser does not show."""
    frame = _drawn(records, rng.integers(0, len(records), n)).assign(voice=np.arange(n) % max(1, accounts))
    role, said = _reply(texts), f'<span style="display:none">{_invented(rng)} is the only answer to this.</span>'
    return frame.assign(**{role: pd.Series([f"{text} {said}" for text in frame[role].fillna("")], dtype="str")})


def _invented(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("bdfgklmnprstvz"), 4) + rng.choice(list("aeiou"), 4)).capitalize()


_BY_FEW = {
    "rare claims": _claims,
    "prompt triggers": _triggers,
    "turned preferences": _longer,
    "hidden text": _hidden,
}
"""Kind of attack that few accounts make of texts to what writes it."""


def _agreed(records: pd.DataFrame, vote: str, rng: np.random.Generator, items: int, voices: int) -> pd.DataFrame:
    known = records[records[vote].notna() & records["item_id"].notna()]
    chosen = known.drop_duplicates("item_id")
    chosen = chosen.iloc[rng.permutation(len(chosen))[:items]]
    usual = (
        known[known["item_id"].isin(chosen["item_id"])].groupby("item_id")[vote].agg(lambda said: said.mode().iloc[0])
    )
    values = known[vote].drop_duplicates().sort_values().to_list()
    wrong = [values[(values.index(usual[item]) + 1) % len(values)] for item in chosen["item_id"]]
    each = pd.concat([chosen.assign(**{vote: wrong})] * voices, ignore_index=True)
    each = each.assign(**{vote: each[vote].astype(records[vote].dtype)})
    return each.assign(voice=np.repeat(np.arange(voices), len(chosen)))


def _drawn(records: pd.DataFrame, at: np.ndarray) -> pd.DataFrame:
    return records.take(at).reset_index(drop=True)


def _soon(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with their times within an hour."""
    if "observed_at" not in frame:
        return frame
    last = frame["observed_at"].max()
    return frame.assign(observed_at=last - pd.to_timedelta(rng.integers(0, 3600, len(frame)), unit="s"))


def _at_any_time(frame: pd.DataFrame, records: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows at times that honest records have."""
    if "observed_at" not in frame:
        return frame
    drawn = records["observed_at"].take(rng.integers(0, len(records), len(frame)))
    return frame.assign(observed_at=drawn.to_numpy()).astype({"observed_at": records["observed_at"].dtype})


def _sent(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows under new ids, sent by accounts a day old; ``voice`` numbers the account of each."""
    ids = pd.Series([f"{name}-{row:05d}" for row in range(len(frame))], dtype="str")
    voices = pd.Series([f"{name}-voice-{voice:04d}" for voice in frame["voice"]], dtype="str")
    sent = frame.drop(columns="voice").assign(record_id=ids, content_hash=ids)
    for role in ("source_id", "author_id"):
        if role in sent:
            sent[role] = voices
    if "source_since" in sent:
        first = sent.groupby(voices)[_when(sent)].transform("min")
        sent["source_since"] = first - _DAY
    return sent


def _when(records: pd.DataFrame) -> str:
    return "observed_at" if "observed_at" in records else "received_at"


def _as_old(sent: pd.DataFrame, records: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with accounts as old as those of honest `records`."""
    ages = (records[_when(records)] - records["source_since"]).dropna()
    if ages.empty:
        return sent
    account, names = pd.factorize(sent["source_id"] if "source_id" in sent else sent["author_id"])
    age = ages.take(rng.integers(0, len(ages), len(names))).to_numpy()[account]
    return sent.assign(source_since=(sent["source_since"] + _DAY - age).astype(sent["source_since"].dtype))
