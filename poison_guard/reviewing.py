"""`Reviewing`: what reviewers do on a feed besides single decisions: look at parts of the queue, decide them as one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from poison_guard.review.filters import QueueFilter
    from poison_guard.steps.agreement import Agreement, Answered, Checks
    from poison_guard.steps.bulk import FrozenSet, Job, Jobs
    from poison_guard.steps.dashboard import Dashboard, Items, Revealed
    from poison_guard.steps.handed import Imported, SavedViews, Written
    from poison_guard.steps.look import Listed
    from poison_guard.steps.notify import ToldOfTask
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.queue import Queue
    from poison_guard.steps.source_rules import Kept, RuleResult, Rules
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

    # -- rules, agreement, views --------------------------------------------------------------------------------------

    def rules(self) -> Rules:
        """Return the rules about sources that hold."""
        from poison_guard.steps.source_rules import rules

        with self._stored_feed() as feed:
            return rules(feed)

    def add_rule(
        self,
        source_id: str,
        verb: str,
        *,
        expires: dt.datetime | None = None,
        by: str,
        reason: str,
        dry_run: bool = False,
    ) -> RuleResult:
        """``block`` a source, or ``allow`` what is held for its own content alone, until `expires`.

        A dry run says what it would change.
        """
        from poison_guard.steps.source_rules import add_rule

        person = {"by": by, "reason": reason}
        with self._stored_feed(writes=not dry_run) as feed:
            return add_rule(feed, source_id, verb, expires=expires, dry_run=dry_run, now=_now(), **person)

    def end_rule(self, rule: int, *, by: str, reason: str) -> RuleResult:
        """End a rule; a source that it blocked may speak again."""
        from poison_guard.steps.source_rules import end_rule

        with self._stored_feed(writes=True) as feed:
            return end_rule(feed, rule, by=by, reason=reason, now=_now())

    def keep(self) -> Kept:
        """End rules that lapsed, release what rules allow, let unread entries expire; each run does so at its end."""
        from poison_guard.steps.source_rules import keep

        with self._stored_feed(writes=True) as feed:
            return keep(feed, _now())

    def checks(self, *, by: str, limit: int = 10) -> Checks:
        """Return records that a reviewer is asked about blind; show them among the others, and answer by `check`."""
        from poison_guard.steps.agreement import checks

        with self._stored_feed() as feed:
            return checks(feed, by=by, limit=limit)

    def check(self, record_id: str, verb: str, *, by: str) -> Answered:
        """Keep a reviewer's answer (``release`` or ``reject``) to one of `checks`; it moves no record."""
        from poison_guard.steps.agreement import answer

        with self._stored_feed(writes=True) as feed:
            return answer(feed, record_id, verb, by=by, now=_now())

    def agreement(self) -> Agreement:
        """Return how well each reviewer agrees with colleagues (Cohen's kappa) and with what is known."""
        from poison_guard.steps.agreement import agreement

        with self._stored_feed() as feed:
            return agreement(feed)

    def views(self) -> SavedViews:
        """Return the filters that were saved under a name."""
        from poison_guard.steps.handed import views

        with self._stored_feed() as feed:
            return views(feed)

    def save_view(self, name: str, filters: QueueFilter, *, by: str) -> SavedViews:
        """Save filters under a name, in the place of those it had."""
        from poison_guard.steps.handed import save_view

        with self._stored_feed(writes=True) as feed:
            return save_view(feed, name, filters, by=by, now=_now())

    def delete_view(self, name: str) -> SavedViews:
        """Forget a saved view."""
        from poison_guard.steps.handed import delete_view

        with self._stored_feed(writes=True) as feed:
            return delete_view(feed, name)

    def export_queue(self, out: str | Path, filters: QueueFilter | None = None, *, sort: str = "risk") -> Written:
        """Write what `filters` find to a .csv, .jsonl or .parquet file, with an empty column ``decision``."""
        from poison_guard.steps.handed import export_queue

        with self._stored_feed() as feed:
            return export_queue(feed, out, filters, sort=sort, now=_now())

    def tell_of_task(self, task: Mapping[str, str]) -> ToldOfTask:
        """Let the webhook know how a task of a scheduler ended (``dag_id, task_id, …``)."""
        from poison_guard.steps.notify import tell_of_task
        from poison_guard.steps.outbox import drain

        with self._stored_feed(writes=True) as feed:
            told = tell_of_task(feed, task, _now())
            drain(feed.store, feed.settings, _now())
        return told

    def import_decisions(
        self, decisions: str | Path | Sequence[Mapping[str, Any]], *, by: str, reason: str
    ) -> Imported:
        """Make the decisions of a file or of rows (``record_id, decision``, perhaps ``version, note``); twice is once.

        What was decided or moved meanwhile is left, and said.
        """
        from poison_guard.steps.handed import import_decisions

        with self._stored_feed(writes=True) as feed:
            return import_decisions(feed, decisions, by=by, reason=reason)
