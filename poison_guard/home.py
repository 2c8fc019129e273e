"""`Home`: the verbs of all feeds of one home; `propose`, `formats` and `verify`, which need no feed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings
from poison_guard.errors import ConfigError

if TYPE_CHECKING:
    from poison_guard.steps.audit import HeadResult
    from poison_guard.steps.doctor import DoctorResult
    from poison_guard.steps.formats import FormatsResult
    from poison_guard.steps.look import RecordFacts
    from poison_guard.steps.people import Session, SignedOut, User, Users
    from poison_guard.steps.propose import ProposalResult
    from poison_guard.steps.report import ReportResult
    from poison_guard.steps.status import FeedsResult, StatusResult
    from poison_guard.steps.verify import Verified
    from poison_guard.store import AuditResult, Store

__all__ = ["Home", "formats", "keep_open", "propose", "verify"]


def keep_open(home: Home) -> None:
    """Let this process keep the store of a home open between verbs, as a server should; the last one is kept."""
    from poison_guard.steps.opening import keep_open as keep

    keep(home.settings)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Home:
    """All feeds of one home.

    >>> Home.open("guard-home").status()  # doctest: +SKIP
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def open(cls, home: str | Path = "guard-home") -> Home:
        """Read the settings of a home; the store is opened when used, and never made."""
        return cls(open_settings(home))

    @property
    def home(self) -> Path:
        """The folder of store, lake and key."""
        return self.settings.home

    def feeds(self) -> FeedsResult:
        """Return the names of the feeds that the store knows."""
        from poison_guard.steps.status import list_known_feeds

        with self._store() as store:
            return list_known_feeds(store, self.home)

    def status(self, feed: str | Path | None = None) -> StatusResult:
        """Return phase, places, queue, snapshot and champion of each feed, or of `feed` (a contract or a name)."""
        from poison_guard.steps.status import status

        with self._store() as store:
            name = self._known(store, feed)
            return status(store, self.home, name, lambda each: self._contract(feed or each), _now())

    def doctor(self, feeds: Sequence[str | Path] = (), *, sweep: bool = False) -> DoctorResult:
        """Check the installation, this home and the contracts of `feeds`; without, those of its and ``./feeds``.

        `sweep` removes files that killed commands left a day ago or longer, and that nothing names.
        """
        from poison_guard.steps.doctor import doctor

        folders = (self.home / "feeds", Path("feeds"))
        named = [find_contract(feed, self.home) for feed in feeds]
        files = named or [file for folder in folders for file in sorted(folder.glob("*.toml"))]
        return doctor(self.settings, files, _now(), sweep=sweep)

    def audit(self, *, last_runs: int | None = None, anchors: Sequence[str | Path] = ()) -> AuditResult:
        """Recompute the audit chain, all rows that training rests on and all lake files; name the first that differs.

        `last_runs`: only the rows and files written since that many runs ago. `anchors` are heads of the chain that
        were kept elsewhere: ``SEQ:HASH``, a file with what `audit head` printed, or a manifest.
        """
        from poison_guard.steps.audit import audit

        with self._store() as store:
            return audit(store, self.settings, last_runs=last_runs, anchors=anchors)

    def audit_head(self) -> HeadResult:
        """Return the head of the audit chain, to keep elsewhere."""
        from poison_guard.steps.audit import head

        with self._store() as store:
            return head(store, _now())

    def report(self, run_id: str | None = None, *, feed: str | Path | None = None) -> ReportResult:
        """Return the facts of a run of any feed; of the last committed one, of `feed` if given, without `run_id`."""
        from poison_guard.steps.report import report

        with self._store() as store:
            name = self._known(store, feed)
            return report(store, self.home, name, run_id, lambda each: self._contract(feed or each))

    def explain(self, record_id: str, *, feed: str | Path | None = None) -> RecordFacts:
        """Return all that is known of a record of any feed; `UsageError` where several feeds have one of that id."""
        from poison_guard.steps.look import feed_of_record, show

        with self._store() as store:
            return show(store, self._known(store, feed) or feed_of_record(store, record_id), record_id)

    # -- people -----------------------------------------------------------------------------------------------------

    def users(self) -> Users:
        """Return who may sign in, and their roles."""
        from poison_guard.steps.people import users

        with self._store() as store:
            return users(store, str(self.home))

    def add_user(
        self,
        name: str,
        password: str,
        *,
        role: str = "admin",
        feed: str = "*",
        by: str | None = None,
        first: bool = False,
    ) -> User:
        """Add a person with a role on a feed (``*``: every one), by a signed-in admin; or the `first` one, an admin."""
        from poison_guard.steps.people import add_user

        with self._store() as store:
            return add_user(store, name, password, role=role, feed=feed, by=by, first=first, now=_now())

    def change_user(
        self,
        name: str,
        *,
        by: str,
        feed: str = "*",
        role: str | None = None,
        disabled: bool | None = None,
        password: str | None = None,
    ) -> User:
        """Set a role on a feed (``none`` takes it away), disable, enable, or set a password; it ends all sessions."""
        from poison_guard.steps.people import change_user

        with self._store() as store:
            values = {"feed": feed, "role": role, "disabled": disabled, "password": password}
            return change_user(store, name, by=by, now=_now(), **values)

    def sign_in(self, name: str, password: str, *, via: str = "session") -> Session:
        """Return a new session with its `token`; `SignInError` for a wrong password, or after too many tries."""
        from poison_guard.steps.people import sign_in

        with self._store() as store:
            return sign_in(store, name, password, via=via, now=_now())

    def session(self, token: str) -> Session:
        """Return the session of a token; `SignInError` where it ended, expired, or its person was disabled."""
        from poison_guard.steps.people import session

        with self._store() as store:
            return session(store, token, _now())

    def sign_out(self, token: str) -> SignedOut:
        """End the session of a token."""
        from poison_guard.steps.people import sign_out

        with self._store() as store:
            return sign_out(store, token)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            yield store

    def _known(self, store: Store, feed: str | Path | None) -> str | None:
        """Return the name of a feed that has a contract or that the store knows; `NotFoundError` names the nearest."""
        from poison_guard.steps.status import require_feed

        if feed is None:
            return None
        name = self._name(feed)
        if self._contract(feed) is None:
            require_feed(store, name, self.home)
        return name

    def _name(self, feed: str | Path) -> str:
        """Return the name of a feed, given as contract file or as the bare name that it has in the store."""
        contract = self._contract(feed)
        if contract is None and Path(feed).name == str(feed) and not Path(feed).suffix:
            return str(feed)
        return contract.name if contract else load_contract(feed).name

    def _contract(self, feed: str | Path) -> Contract | None:
        """Return the contract of a feed; None where there is no such file."""
        try:
            file = find_contract(feed, self.home)
        except ConfigError:
            return None
        return load_contract(file) if file.is_file() else None


def propose(
    data: str | Path,
    *,
    name: str | None = None,
    out: str | Path = ".",
    force: bool = False,
    dry_run: bool = False,
    home: str | Path = "guard-home",
    format_name: str | None = None,
    join: str | Path | None = None,
) -> ProposalResult:
    """Look at a data file (csv, jsonl or parquet), and write a contract and expectations that the file itself passes.

    They are written to ``feeds/NAME.toml`` and ``expectations/NAME.json`` in the folder `out`, unless `dry_run`.
    A known format is found on sight unless `format_name` names it; `join` is its second file, where it has one.
    """
    from poison_guard.steps.propose import propose

    settings = open_settings(home)
    return propose(
        str(data),
        name=name,
        out=Path(out),
        force=force,
        dry_run=dry_run,
        settings=settings,
        now=_now(),
        format_name=format_name,
        join=None if join is None else str(join),
    )


def formats() -> FormatsResult:
    """Return the known formats: how each is known, where it has its roles, and what it does not say."""
    from poison_guard.steps.formats import list_formats

    return list_formats()


def verify(
    manifest: str | Path,
    *,
    home: str | Path = "guard-home",
    key: str | Path | None = None,
    revocations: str | Path | None = None,
    data: str | Path | None = None,
    no_data: bool = False,
    snapshot_id: str | None = None,
    feed: str | Path | None = None,
) -> Verified:
    """Verify that a manifest admits its data for training, now; `ClosedError` or `TamperError` says why it does not.

    Public key, revocation list and data are those of `home` where none are named; `no_data` compares no data. Manifests
    of another snapshot or `feed` (a contract or a name) than those named are refused. `poison_guard.gate.verify` does
    the same without a home.
    """
    from poison_guard.steps.verify import verify

    opened = Home.open(home)
    return verify(
        Path(manifest),
        opened.settings,
        key=key,
        revocations=revocations,
        data=data,
        no_data=no_data,
        snapshot_id=snapshot_id,
        feed=None if feed is None else opened._name(feed),
    )
