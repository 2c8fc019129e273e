from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from poison_guard.airflow import operators
from poison_guard.errors import ClosedError, TamperError
from poison_guard.steps.admission import Admitted

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]
ADMITTED = Admitted("s-1", Path("m.json"), "ab", dt.datetime(2026, 12, 1, tzinfo=dt.UTC), 9)


def sensor(**kwargs: Any) -> Any:
    return operators.PoisonGateSensor(task_id="wait", **{"contract": "chat.toml", "home": "h", **kwargs})


def test_it_waits_while_the_gate_is_closed_and_hands_on_the_digest_when_it_opens(guard: Any):
    asked: list[str] = []

    def check(snapshot: str) -> Admitted:
        asked.append(snapshot)
        if len(asked) == 1:
            raise ClosedError("s-1 has no admission")
        return ADMITTED

    guard.check_admission = check
    wait = sensor(snapshot_id="s-1")
    assert not wait.poke({}).is_done
    found = wait.poke({})
    assert (found.is_done, found.xcom_value) == (True, {"snapshot_id": "s-1", "digest": "ab"})
    assert asked == ["s-1"] * 2
    assert guard.opened == [("chat.toml", "h")] * 2


def test_without_an_id_it_looks_at_the_newest_snapshot_each_time(guard: Any):
    left = ["nothing is sealed yet", "s-1 has no admission"]

    def check(snapshot: str | None) -> Admitted:
        assert snapshot is None
        if left:
            raise ClosedError(left.pop(0))
        return ADMITTED

    guard.check_admission = check
    assert [sensor().poke({}).is_done for _ in range(3)] == [False, False, True]


def test_a_manifest_that_was_tampered_with_fails_for_good(guard: Any):
    from poison_guard.airflow.versions import AirflowFailException

    def torn(*_: object) -> None:
        raise TamperError("the manifest of s-1 was edited")

    guard.check_admission = torn
    with pytest.raises(AirflowFailException, match="was edited"):
        sensor(snapshot_id="s-1").poke({})


def test_it_holds_no_worker_while_it_waits_and_its_arguments_are_templated():
    wait = sensor(snapshot_id="{{ snap }}", home="{{ root }}")
    wait.render_template_fields({"snap": "s-7", "root": "/data"})
    assert (wait.mode, wait.snapshot_id, wait.home) == ("reschedule", "s-7", "/data")
