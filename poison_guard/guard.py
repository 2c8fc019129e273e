"""`Guard`: the steps by name, for one feed and one home."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from poison_guard.config import Contract, load_contract, open_settings
from poison_guard.records import ScanResult

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.collect import Source
    from poison_guard.steps.facing import GateResult, RecallResult, RetrainResult, SealResult
    from poison_guard.steps.opening import Feed
    from poison_guard.store import TrustedSummary

__all__ = ["Guard"]


class Guard:
    """The guard of one feed.

    >>> guard = Guard.open("feeds/captcha.toml", home="guard-home")  # doctest: +SKIP
    >>> guard.scan("answers.parquet").decisions  # doctest: +SKIP
    """

    def __init__(self, contract: Contract, contract_path: Path, home: Path) -> None:
        self.contract = contract
        self.contract_path = contract_path
        self.home = home

    @classmethod
    def open(cls, contract_path: str | Path, home: str | Path = "guard-home") -> Guard:
        """Read contract and settings; `ConfigError` names the file and the key. The store is opened when used."""
        contract = load_contract(contract_path)
        return cls(contract, Path(contract_path), open_settings(home).home)

    def trust(self, source: Source, *, by: str, reason: str) -> TrustedSummary:
        """Add vetted records (frame or path) to the trusted set; `DataError` where one of them is not whole."""
        from poison_guard.steps.trust import trust

        with self._feed() as feed:
            return trust(feed, source, by=by, reason=reason, now=_now())

    def scan(self, source: Source) -> ScanResult:
        """Decide records (frame, path, paths) by what the home knows, and store nothing."""
        from poison_guard.steps.direct import scan

        with self._feed(only_look=True) as feed:
            return scan(feed, source, _now())

    def ingest(self, source: Source = None) -> ScanResult:
        """Decide and store records; without `source`, what is new at the contract's ``[data]``. Twice equals once."""
        from poison_guard.steps.direct import ingest

        with self._feed() as feed:
            return ingest(feed, source, _now())

    def seal(self) -> SealResult:
        """Seal a snapshot of all that is accepted now; the last one again where nothing changed."""
        from poison_guard.steps.facing import seal

        with self._feed() as feed:
            return seal(feed)

    def gate(self, candidate: str | Path | None = None, *, snapshot_id: str | None = None) -> GateResult:
        """Judge a snapshot (the last one; sealed first where there is none) and admit it where it passes.

        `candidate`: a file of predictions (``example_id, label``) of `candidate_inputs` by any model, judged with it.
        """
        from poison_guard.steps.facing import gate

        with self._feed() as feed:
            return gate(feed, snapshot_id, _now(), candidate=None if candidate is None else str(candidate))

    def approve(
        self, *, by: str, reason: str, expires: dt.datetime | None = None, snapshot_id: str | None = None
    ) -> GateResult:
        """Approve a snapshot that did not pass, in the name of a person, and admit it where that is enough."""
        from poison_guard.steps.facing import approve

        with self._feed() as feed:
            return approve(feed, snapshot_id, by=by, reason=reason, expires=expires, now=_now())

    def candidate_inputs(self) -> pd.DataFrame:
        """Return the trusted examples a candidate has to predict: ``example_id`` and content, without labels."""
        from poison_guard.steps.facing import candidate_inputs

        with self._feed(only_look=True) as feed:
            return candidate_inputs(feed)

    def retrain(self, *, measure_only: bool = False, from_scratch: bool = False) -> RetrainResult:
        """Train on the newest admitted snapshot, evaluate, and promote by rule; `ClosedError` without an admission.

        With `measure_only` the last snapshot is trained on without one; that model can never be promoted. With
        `from_scratch` training does not start from the champion.
        """
        from poison_guard.steps.facing import retrain

        with self._feed() as feed:
            return retrain(feed, _now(), measure_only=measure_only, from_scratch=from_scratch)

    def rollback(self, *, to: str, by: str, reason: str, force: bool = False) -> RetrainResult:
        """Make an earlier champion the champion again; `force` even where its snapshot was revoked."""
        from poison_guard.steps.facing import rollback

        with self._feed() as feed:
            return rollback(feed, to=to, by=by, reason=reason, force=force)

    def recall(
        self,
        *,
        by: str,
        reason: str,
        campaign_id: str | None = None,
        source_id: str | None = None,
        record_ids: str | Sequence[str] | None = None,
        observed: bool = False,
    ) -> RecallResult:
        """Take accepted records back to quarantine: of a campaign, of a source, by id, or `observed` (name one).

        `observed` are those that the guard would have held but let pass in observe mode.

        Every snapshot that holds one of them is revoked; the result names it, and the models trained on it.
        """
        from poison_guard.steps.facing import recall

        with self._feed() as feed:
            return recall(
                feed,
                campaign_id=campaign_id,
                source_id=source_id,
                record_ids=[record_ids] if isinstance(record_ids, str) else record_ids,
                observed=observed,
                by=by,
                reason=reason,
                now=_now(),
            )

    @contextmanager
    def _feed(self, *, only_look: bool = False) -> Iterator[Feed]:
        from poison_guard.steps.opening import open_feed

        with open_feed(self.contract_path, self.home, only_look=only_look) as feed:
            yield feed


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
