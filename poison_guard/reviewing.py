"""`Reviewing`: what reviewers do on a feed besides single decisions: look at parts of the queue, decide them as one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poison_guard.review.filters import QueueFilter
    from poison_guard.steps.bulk import FrozenSet, Job, Jobs
    from poison_guard.steps.dashboard import Dashboard, Items, Revealed
    from poison_guard.steps.look import Listed
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.queue import Queue
    from poison_guard.steps.views import CampaignView, ItemView, RecordView, SourceView

__all__ = ["Reviewing"]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Reviewing:
    """What reviewers do on one feed; every `Guard` has these, too."""

    def _stored_feed(self, *, writes: bool = False) -> AbstractContextManager[Feed]:
        raise NotImplementedError

    def queue(
        self,
        filters: QueueFilter | None = None,
        *,
        page: int = 1,
        size: int | None = None,
        sort: str = "risk",
        group_by: str | None = None,
    ) -> Queue:
        """Return a page of what waits for review: `filters` as `QueueFilter`, `sort` ``risk, oldest`` or ``newest``.

        With `group_by` (``campaign, source, item, reason, day, label``) a row is a group, those that hold most first.
        """
        from poison_guard.steps.queue import list_queue

        with self._stored_feed() as feed:
            return list_queue(feed, filters, page=page, size=size, sort=sort, group_by=group_by, now=_now())

    def decided(self, *, limit: int | None = None) -> Listed:
        """Return what people decided, last first: the events that `undo` takes."""
        from poison_guard.steps.look import list_decided

        with self._stored_feed() as feed:
            return list_decided(feed, limit=limit)

    def would_hold(self, *, limit: int | None = None) -> Listed:
        """Return what the feed accepted in observe mode though it would have held it, riskiest first."""
        from poison_guard.steps.look import list_would_hold

        with self._stored_feed() as feed:
            return list_would_hold(feed, limit=limit)

    def record(self, record_id: str) -> RecordView:
        """Return a record with its version, others of its campaign and the newest of its source."""
        from poison_guard.steps.views import record

        with self._stored_feed() as feed:
            return record(feed, record_id)

    def campaign(self, campaign_id: str) -> CampaignView:
        """Return a campaign: kind and why, timeline, members, sources by age, labels, innocent explanations."""
        from poison_guard.steps.views import campaign

        with self._stored_feed() as feed:
            return campaign(feed, campaign_id)

    def source(self, source_id: str) -> SourceView:
        """Return a source: its ledger, where its records are, and the rules about it."""
        from poison_guard.steps.views import source

        with self._stored_feed() as feed:
            return source(feed, source_id)

    def item(self, item_id: str) -> ItemView:
        """Return an item: its label or why it is deferred, and the votes about it."""
        from poison_guard.steps.views import item

        with self._stored_feed() as feed:
            return item(feed, item_id)

    def bulk_preview(self, filters: QueueFilter) -> FrozenSet:
        """Freeze what a filter finds, and return its number and a random sample; nothing is decided."""
        from poison_guard.steps.bulk import bulk_preview

        with self._stored_feed() as feed:
            return bulk_preview(feed, filters, now=_now())

    def bulk(self, job_id: str, verb: str, *, by: str, reason: str, confirm: str = "") -> Job:
        """Begin to ``release`` or ``reject`` a frozen set; `confirm` is its number where it has over 100 records.

        `run_job` goes through it. The same again begins nothing a second time.
        """
        from poison_guard.steps.bulk import bulk

        with self._stored_feed(writes=True) as feed:
            return bulk(feed, job_id, verb, by=by, reason=reason, confirm=confirm, now=_now())

    def run_job(self, job_id: str, *, report: Callable[[Job], object] | None = None) -> Job:
        """Go through a job until it is done or cancelled, telling `report` after each part; killed, call it again."""
        from poison_guard.steps.bulk import run_job

        with self._stored_feed(writes=True) as feed:
            return run_job(feed, job_id, report=report)

    def job(self, job_id: str) -> Job:
        """Return how far a job is."""
        from poison_guard.steps.bulk import job

        with self._stored_feed() as feed:
            return job(feed, job_id)

    def jobs(self, *, limit: int = 50) -> Jobs:
        """Return the bulk decisions of the feed, the newest first."""
        from poison_guard.steps.bulk import jobs_of

        with self._stored_feed() as feed:
            return jobs_of(feed, limit=limit)

    def cancel(self, job_id: str, *, by: str) -> Job:
        """Stop a job after the part it is at; what was decided stays until `undo_job`."""
        from poison_guard.steps.bulk import cancel

        with self._stored_feed(writes=True) as feed:
            return cancel(feed, job_id, by=by)

    def undo_job(self, job_id: str, *, by: str, reason: str, report: Callable[[int, int], object] | None = None) -> Job:
        """Take a bulk decision back as one; what was decided again since is left. `report(parts, of)` is told."""
        from poison_guard.steps.bulk import undo_job

        with self._stored_feed(writes=True) as feed:
            return undo_job(feed, job_id, by=by, reason=reason, report=report)

    def items(self, *, limit: int = 50, offset: int = 0) -> Items:
        """Return a page of the items and their labels, those that are deferred first."""
        from poison_guard.steps.dashboard import items

        with self._stored_feed() as feed:
            return items(feed, limit=limit, offset=offset)

    def dashboard(self) -> Dashboard:
        """Return who decided how much, and the share of records held in each group with its interval."""
        from poison_guard.steps.dashboard import dashboard

        with self._stored_feed() as feed:
            return dashboard(feed)

    def reveal(self, record_id: str, *, by: str, reason: str) -> Revealed:
        """Return the private columns of a record; the audit chain keeps who asked and why."""
        from poison_guard.steps.dashboard import reveal

        with self._stored_feed(writes=True) as feed:
            return reveal(feed, record_id, by=by, reason=reason, now=_now())
