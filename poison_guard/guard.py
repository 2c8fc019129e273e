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
    from poison_guard.review import ReviewResult
    from poison_guard.steps.intake import Source
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

    def recall(
        self,
        *,
        by: str,
        reason: str,
        campaign_id: str | None = None,
        source_id: str | None = None,
        record_ids: str | Sequence[str] | None = None,
    ) -> ReviewResult:
        """Take accepted records back to quarantine: of a campaign, of a source, or by id (name one of the three)."""
        from poison_guard.review import recall

        with self._feed() as feed:
            return recall(
                feed.store,
                feed.contract,
                campaign_id=campaign_id,
                source_id=source_id,
                record_ids=[record_ids] if isinstance(record_ids, str) else record_ids,
                by=by,
                reason=reason,
            )

    @contextmanager
    def _feed(self, *, only_look: bool = False) -> Iterator[Feed]:
        from poison_guard.steps.opening import open_feed

        with open_feed(self.contract_path, self.home, only_look=only_look) as feed:
            yield feed


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
