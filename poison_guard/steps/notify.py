"""Notify: tell a server of the user's, by signed requests through the outbox, what people should look at.

A request that fails is tried again, later each time; none holds a command up for longer than five seconds. The body is
JSON, and ``X-Poison-Guard-Signature`` is ``sha256=`` and the HMAC of ``TIME.BODY`` by the webhook's secret, where
``X-Poison-Guard-Time`` is the time in seconds since 1970. `webhook_secret` gives the secret of a home.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poison_guard.config import Settings
from poison_guard.errors import StoreError
from poison_guard.results import Result
from poison_guard.steps.queue import expiry
from poison_guard.store import outbox
from poison_guard.store.quarantine import count_open
from poison_guard.store.waiting import aged_entries, held_campaigns
from poison_guard.text import shown_url, to_jsonable, without_secrets

if TYPE_CHECKING:
    from poison_guard.steps.opening import Feed

__all__ = ["ToldOfTask", "signature", "tell", "tell_of_gate", "tell_of_queue", "tell_of_task", "webhook_secret"]

_SECONDS = 5.0
_AGED_DAYS = 3
"""Days after which an entry that nobody decided makes a queue an aged one."""


def webhook_secret(key: bytes) -> str:
    """Return the secret that requests are signed with: of the home's key, which it does not give away."""
    return hmac.digest(key, b"webhook", "sha256").hex()


def signature(secret: str, at: int, body: bytes) -> str:
    """Return what ``X-Poison-Guard-Signature`` says of a body sent at a time."""
    return "sha256=" + hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server that sends elsewhere is not followed: only the URL that was set is told."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def tell(settings: Settings, key: bytes, task: Mapping[str, Any], now: dt.datetime) -> None:
    """Send one message; nothing where no webhook is set any more. `StoreError` where it does not arrive."""
    if settings.webhook is None:
        return
    body = json.dumps(to_jsonable({"schema_version": 1, **task}), sort_keys=True).encode()
    at = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "X-Poison-Guard-Time": str(at),
        "X-Poison-Guard-Signature": signature(webhook_secret(key), at, body),
    }
    request = urllib.request.Request(settings.webhook, data=body, headers=headers, method="POST")  # noqa: S310  config checks http(s)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_SECONDS):
            return
    except (urllib.error.URLError, OSError, ValueError) as error:
        why = without_secrets(error, settings.webhook)
        raise StoreError(f"{shown_url(settings.webhook)} was not told of {task.get('event')}: {why}") from None


def tell_of_queue(feed: Feed, now: dt.datetime) -> None:
    """Let the webhook know of campaigns that wait, once each, and that a queue is aged, once a day."""
    if feed.settings.webhook is None:
        return
    name = feed.contract.name
    for found in held_campaigns(feed.store, name):
        _ask(feed, {"event": "campaign.held", **found, **_link(feed, "campaign", id=found["campaign_id"])}, now)
    aged = aged_entries(feed.store, name, before=now - dt.timedelta(days=_AGED_DAYS))
    if aged:
        message = {"event": "queue.aged", "entries": aged, "days": _AGED_DAYS, "day": f"{now:%Y-%m-%d}"}
        _ask(feed, {**message, **_link(feed, "queue", sort="oldest")}, now)


def tell_of_gate(feed: Feed, snapshot_id: str, outcome: str, now: dt.datetime) -> None:
    """Let the webhook know, once, that a snapshot did not pass the gate."""
    if feed.settings.webhook is not None and outcome != "pass":
        message = {"event": "gate.closed", "snapshot_id": snapshot_id, "outcome": outcome}
        _ask(feed, {**message, **_link(feed, "gate", id=snapshot_id)}, now)


@dataclass(frozen=True, slots=True)
class ToldOfTask(Result):
    """How a task of a scheduler ended, as the webhook is told."""

    feed: str
    task: Mapping[str, str]
    open: int
    """Records that wait for review."""
    url: str | None
    """Page of the queue; None where nobody said where the pages are."""
    sent: bool
    """False: no webhook is set."""

    def __str__(self) -> str:
        """Return what was told."""
        told = "told" if self.sent else "no webhook is set to be told"
        return f"{told} of {' '.join(self.task.values())}: {self.open:,} records wait in {self.feed}"


def tell_of_task(feed: Feed, task: Mapping[str, str], now: dt.datetime) -> ToldOfTask:
    """Let the webhook know, once, how a task of a scheduler ended and what waits in its feed."""
    with feed.store.read() as conn:
        waits = count_open(conn, feed.contract.name, since=expiry(feed, now))
    waiting, link, sent = int(str(waits["open"])), _link(feed, "queue"), feed.settings.webhook is not None
    if sent:
        _ask(feed, {"event": "task.ended", **task, "open": waiting, **link}, now)
    return ToldOfTask(feed.contract.name, task, waiting, link.get("url"), sent)


def _link(feed: Feed, part: str, **query: str) -> dict[str, str]:
    """Return the address of a page as ``url``; nothing where nobody said where the pages are."""
    url = feed.settings.page(feed.contract.name, part, **query)
    return {} if url is None else {"url": url}


def _ask(feed: Feed, message: Mapping[str, Any], now: dt.datetime) -> None:
    outbox.add_once(feed.store, outbox.WEBHOOK, {"feed": feed.contract.name, **message}, now)
