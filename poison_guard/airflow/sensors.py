"""A sensor for other people's DAGs: wait until a snapshot may be trained on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from poison_guard.airflow.feeds import guard_home
from poison_guard.airflow.tasks import final_errors
from poison_guard.errors import ClosedError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PoisonGateSensor"]


class PoisonGateSensor(BaseSensorOperator):
    """Wait until a snapshot has an admission that holds: signed, unexpired, unrevoked, for exactly its data.

    Returns ``snapshot_id`` and the ``digest`` of the manifest. It only looks: whatever judges and approves runs
    elsewhere. A manifest that was tampered with fails the task for good, and so does a wrong contract.

    Parameters
    ----------
    contract
        Path of the feed contract, templated.
    snapshot_id
        Snapshot to wait for, templated; None waits for the newest one sealed at each look.
    home
        Home with the store and the keys, templated; None takes ``POISON_GUARD_HOME``, else ``guard-home``.
    """

    template_fields: Collection[str] = ("contract", "snapshot_id", "home")

    def __init__(
        self,
        *,
        contract: str,
        snapshot_id: str | None = None,
        home: str | None = None,
        mode: str = "reschedule",
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.contract = contract
        self.snapshot_id = snapshot_id
        self.home = home

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; not done while the gate is closed."""
        from poison_guard import steps

        home = self.home or guard_home()
        with final_errors():
            snapshot = self.snapshot_id or _newest(self.contract, home)
            if snapshot is None:
                return PokeReturnValue(is_done=False)
            try:
                found = steps.check_admission(self.contract, home, snapshot)
            except ClosedError as error:
                self.log.info("not admitted: %s", error)
                return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value={key: str(found[key]) for key in ("snapshot_id", "digest")})


def _newest(contract: str, home: str) -> str | None:
    from poison_guard.steps.opening import open_feed
    from poison_guard.store.snapshots import last_snapshot

    with open_feed(contract, home, only_look=True) as feed:
        snapshot = last_snapshot(feed.store, feed.contract.name)
    return None if snapshot is None else snapshot.snapshot_id
