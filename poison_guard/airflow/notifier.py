"""Notifier: let the webhook of the home know how a task ended, with what waits in its feed and the link to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from poison_guard.airflow.feeds import guard_home
from poison_guard.guard import Guard
from poison_guard.text import visible

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PoisonNotifier"]


class PoisonNotifier(BaseNotifier):
    """Tell the webhook of a home how a task ended: a signed message through the outbox, once a try of the task.

    ``on_failure_callback=PoisonNotifier(feed="captcha")``, or of success, on a task or a whole DAG. Without a webhook
    in the settings (``POISON_GUARD_WEBHOOK``) the message is only logged. A message that does not arrive is sent again
    by whatever writes next.

    Parameters
    ----------
    feed
        Name or contract path of the feed, templated.
    home
        Home of the guard, templated; None takes ``POISON_GUARD_HOME``, else ``guard-home``.
    """

    template_fields: Sequence[str] = ("feed", "home")

    def __init__(self, *, feed: str, home: str | None = None) -> None:
        super().__init__()
        self.feed = feed
        self.home = home

    def notify(self, context: Context) -> None:
        """Send the message."""
        task: Any = context.get("ti")
        names = ("dag_id", "task_id", "run_id", "state", "try_number")
        facts = {name: str(value) for name in names if (value := getattr(task, name, None)) is not None}
        told = Guard.open(self.feed, home=self.home or guard_home()).tell_of_task(facts)
        self.log.info("%s", visible(str(told), limit=500))
