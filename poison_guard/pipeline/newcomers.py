"""Newcomers: records that came with an id of other content. They are held under a name of their own.

The record that came first keeps its place. Only where it is no more than a first claim (its source is new, no person
decided it) and an established source sends the other content, both are held: whoever guesses ids could claim them.
Where the contract takes revisions, other content of the same owner (source, or author where there is none) is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from poison_guard.frames import empty_frame
from poison_guard.ingest.identity import newcomer_names
from poison_guard.records import ID_CONFLICT, Action, Batch, Campaign, Place, Reason, State

__all__ = [
    "MAX_ENTRIES",
    "MAX_SHARE",
    "conflict_groups",
    "find_newcomers",
    "join_groups",
    "name_failures",
    "name_newcomers",
    "names_of",
    "rename",
]

MAX_ENTRIES = 20
MAX_SHARE = 0.01
"""Conflicts of a run that a person is shown one by one: 20, or 1 % of its records where that is more. Beyond it they
are one group with one entry in the queue: honest feeds repeat few ids, and whoever sends all known ids again must not
fill the queue."""
_P = 1e-6  # as of other rules


def find_newcomers(
    batch: Batch,
    unreadable: pd.DataFrame,
    look_up: Callable[[list[str]], pd.DataFrame],
    sum_ledger: Callable[[list[str]], pd.DataFrame],
    *,
    owners: pd.Series | None = None,
    joined: bool = False,
) -> pd.DataFrame:
    """Return the rows of a batch that are in conflict over their id, or get another id than they came with.

    `unreadable` are ``record_id, content_hash`` of the rows that could not be read, `look_up` gives what the store has
    under some ids (`store.state.load_known`), `sum_ledger` the ledger of some sources. `owners` says whose each of the
    batch's records is, under the names that the store has, where the contract takes revisions; a record of a `joined`
    feed that has no owner waits for its partner, whose owner may be any. Columns: ``given_id,
    record_id`` (the name the row gets), ``first_id`` (the id it is in conflict over, else missing) and ``squatted``
    (bool: an established source may have the record of that id held).
    """
    rows = batch.records[["record_id", "content_hash"]]
    rows = pd.concat([rows if owners is None else rows.assign(owner=owners), unreadable], ignore_index=True)
    issues = batch.issues[batch.issues["code"] == ID_CONFLICT]
    contested = {name: args["record_id"] for name, args in zip(issues["record_id"], issues["args"], strict=True)}
    names = name_newcomers(rows, look_up, contested=contested, joined=joined)
    if not names and issues.empty:
        return empty_frame("newcomers")
    contents, readable = (
        dict(zip(rows["record_id"], rows["content_hash"], strict=True)),
        set(batch.records["record_id"]),
    )
    over = contested | {name: name for name, new in names.items() if name in readable and new not in contents}
    firsts = look_up(sorted(set(over.values())))
    stored = dict(zip(firsts["record_id"], firsts["content_hash"], strict=True))
    claims = _claims(firsts, sum_ledger)
    found = []
    for name in sorted({*names, *over}):
        first, new = over.get(name), names.get(name, name)
        if stored.get(new) == contents[name]:  # this is the first, delivered again
            first = None
        if first is not None or new != name:
            found.append((name, new, first, first in claims and new != first))
    columns = ["given_id", "record_id", "first_id", "squatted"]
    texts = dict.fromkeys(columns[:3], "str")
    return pd.DataFrame(found, columns=columns).astype({**texts, "squatted": bool})


def name_newcomers(
    records: pd.DataFrame,
    look_up: Callable[[list[str]], pd.DataFrame],
    *,
    contested: Mapping[str, str],
    joined: bool = False,
) -> dict[str, str]:
    """Return id -> own name of the rows of a batch whose id the store has with other content.

    `records`: ``record_id, content_hash``, ids unique, in any order; with ``owner`` where other content of the same
    owner (or of any, where the first has none and waits for what it is `joined` with) is a revision, which any row is
    that is not `contested` and whose first no person decided. `look_up` returns
    ``record_id, content_hash, by_person, owner`` of those of some ids that the store has. `contested` names the rows
    whose id came with several contents in this batch, and that id. A newcomer that was stored before gets the name it
    got then; a row that the batch renamed and whose content the store has under the id itself gets that id back.
    """
    given = dict(zip(records["record_id"].tolist(), records["content_hash"].tolist(), strict=True))
    known = look_up(list(given)).set_index("record_id")
    first = known["content_hash"].to_dict()
    waiting = sorted(name for name, content in given.items() if first.get(name, content) != content)
    if "owner" in records and waiting:
        mine = records.set_index("record_id")["owner"].reindex(waiting)
        first_of = known.reindex(waiting)
        same = (mine == first_of["owner"]) | ((mine.isna() | joined) & first_of["owner"].isna())
        revision = same & ~first_of["by_person"].astype(bool) & ~first_of.index.isin(list(contested))
        waiting = first_of.index[~revision.to_numpy(dtype=bool, na_value=False)].tolist()
    back = {name: over for name, over in contested.items() if name != over and over in set(waiting)}
    names = {name: over for name, over in back.items() if given[name] == first[over]}
    candidates = {name: newcomer_names(name, given[name]) for name in waiting}
    taken = set(given) - set(names)
    while candidates:
        tried: dict[str, str] = {}
        for record_id, options in candidates.items():
            tried[record_id] = next(name for name in options if name not in taken)
            taken.add(tried[record_id])
        stored = look_up(list(tried.values())).set_index("record_id")["content_hash"].to_dict()
        free = {old: new for old, new in tried.items() if stored.get(new, given[old]) == given[old]}
        names |= free
        candidates = {name: options for name, options in candidates.items() if name not in free}
    return names


def _claims(firsts: pd.DataFrame, sum_ledger: Callable[[list[str]], pd.DataFrame]) -> set[str]:
    """Return the ids of records of new sources that no person decided and that are not held yet."""
    from poison_guard.signals.sources import established

    open_ = firsts["place"].isin([Place.ACCEPTED.value, Place.STAGED.value]) & firsts["received_at"].notna()
    rows = firsts[open_ & ~firsts["by_person"].astype(bool)].reset_index(drop=True)
    ledger = sum_ledger(rows["source_id"].dropna().unique().tolist())
    return set(rows.loc[~established(rows, ledger, rows["received_at"]), "record_id"])


def names_of(newcomers: pd.DataFrame) -> pd.Series:
    """Return the name each newcomer gets, by the id it came with; its index is hashed once, for many parts."""
    return newcomers.set_index("given_id")["record_id"]


def rename(frame: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Return `frame` with each row of a batch under the name it gets of `names`."""
    if names.empty:
        return frame
    at = names.index.get_indexer(pd.Index(frame["record_id"]))
    named = pd.Series(pd.api.extensions.take(names.array, at, allow_fill=True), index=frame.index)
    named = named.fillna(frame["record_id"]).astype("str")
    moved = named != frame["record_id"]
    if "shape" in frame and moved.any():  # what was written stays beside the record
        given = frame.get("given.record_id", pd.Series(None, index=frame.index, dtype="str"))
        frame = frame.assign(
            **{"given.record_id": given.where(given.notna() | ~moved, frame["record_id"]).astype("str")}
        )
    return frame.assign(record_id=named)


def name_failures(failures: pd.DataFrame, newcomers: pd.DataFrame) -> pd.DataFrame:
    """Return the failures of rows under the names they get, a conflict first: it is why they are held."""
    others = rename(failures[failures["code"] != ID_CONFLICT], names_of(newcomers))
    rows = newcomers[newcomers["first_id"].notna()]
    if rows.empty:
        return others.reset_index(drop=True)
    args = pd.Series([{"record_id": first} for first in rows["first_id"]], index=rows.index, dtype=object)
    conflicts = rows[["record_id"]].assign(code=ID_CONFLICT, args=args)
    return pd.concat([conflicts, others], ignore_index=True)


def conflict_groups(
    newcomers: pd.DataFrame, decisions: pd.DataFrame, scored: pd.DataFrame, established: np.ndarray, state: State
) -> tuple[Campaign, ...]:
    """Return the groups that a person decides at once: the conflicts, where they are too many, and the first claims.

    First claims are earlier records whose id a new record of a source that is `established` (``(n,)``, of each row of
    `scored`) came with; they are to be taken back, in a group of their own: a person may believe either side.
    """
    if newcomers.empty:
        return ()
    from poison_guard.signals.campaigns.findings import campaign_id, make_campaign

    new = newcomers[newcomers["first_id"].notna() & ~newcomers["record_id"].isin(state.known["record_id"])]
    held = decisions.loc[decisions["action"] == Action.QUARANTINE.value, "record_id"]
    rows = np.flatnonzero(scored["record_id"].isin(new["record_id"]) & scored["record_id"].isin(held))
    groups: list[Campaign] = []
    if len(rows) > max(MAX_ENTRIES, MAX_SHARE * len(scored)):
        args = {"n_records": len(rows)}
        group = make_campaign(scored, rows, kind=ID_CONFLICT, p=_P, strength=1, who="source_id", args=args)
        name = campaign_id((ID_CONFLICT, *group.record_ids))  # never that of a campaign of the same records
        groups.append(replace(group, campaign_id=name, reason=Reason("id_conflicts", args)))
    proven = new["squatted"] & new["record_id"].isin(scored.loc[established, "record_id"])
    firsts = tuple(sorted(set(new.loc[proven, "first_id"])))
    if firsts:
        name, why = campaign_id((ID_CONFLICT, *firsts)), Reason("id_claimed", {"n_records": len(firsts)})
        groups.append(Campaign(name, ID_CONFLICT, _P, 1.0, (), (), None, None, why, firsts))
    return tuple(groups)


def join_groups(decisions: pd.DataFrame, groups: tuple[Campaign, ...]) -> pd.DataFrame:
    """Return `decisions` with the members of the groups in them, whatever other campaign they are in."""
    group_of = {record: group.campaign_id for group in groups for record in group.record_ids}
    if not group_of:
        return decisions
    names = [
        group_of.get(name, own) for name, own in zip(decisions["record_id"], decisions["campaign_id"], strict=True)
    ]
    return decisions.assign(campaign_id=pd.Series(names, index=decisions.index, dtype=object))
