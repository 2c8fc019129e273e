from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import ClosedError, InconclusiveError, StoreError, TamperError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

ANSWER = {
    "chosen_options": ["Approve"],
    "params_input": {"note": " looked at all 40 "},
    "responded_by_user": {"id": "7", "name": "dana"},
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")
    monkeypatch.setattr(tasks, "what_it_lacks", lambda *_: None)


def closed(*_: object) -> None:
    raise ClosedError("no admission")


def judged(steps: ModuleType, outcome: str, *why: str) -> None:
    steps.check_admission = closed
    steps.gate = lambda *_: {"outcome": outcome, "verdict_seq": 3, "why": list(why)}


def test_a_new_snapshot_goes_on_to_the_gate(steps: ModuleType):
    steps.seal = lambda *args: {"snapshot_id": f"of {args}", "new": True, "counts": {}}
    assert tasks.seal("chat.toml") == "of ('chat.toml', 'the-home')"


def test_a_snapshot_that_a_crash_left_unjudged_is_judged_though_it_is_not_new(
    steps: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    steps.seal = lambda *_: {"snapshot_id": "s-1", "new": False, "counts": {}}
    monkeypatch.setattr(tasks, "is_judged", lambda *_: False)
    assert tasks.seal("chat.toml") == "s-1"


@pytest.mark.parametrize(
    ("columns", "lacks"),
    [
        ('features = ["speed"]', "label, answer or rating"),
        ('item_id = "word"\nanswer = "answer"', "image, text or features"),
        ('features = ["speed"]\nlabel = "human"', None),
        ('text = "message"\nrating = "stars"', None),
    ],
)
def test_a_feed_without_labels_or_content_has_nothing_to_gate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str, lacks: str | None
):
    from airflow.sdk.exceptions import AirflowSkipException

    monkeypatch.undo()
    monkeypatch.setenv("POISON_GUARD_HOME", str(tmp_path / "home"))
    file = tmp_path / "feed.toml"
    file.write_text(
        f'name = "feed"\nkind = "examples"\n[data]\npath = "x.csv"\n[columns]\nsource_id = "user"\n{columns}\n'
    )
    assert tasks.what_it_lacks(str(file)) == lacks
    if lacks:
        with pytest.raises(AirflowSkipException, match=f"no model can learn from .*: it maps no {lacks}"):
            tasks.seal(str(file))


def test_a_feed_that_accepted_nothing_yet_has_nothing_to_judge(steps: ModuleType):
    from airflow.sdk.exceptions import AirflowSkipException

    steps.seal = lambda *_: {"snapshot_id": None, "new": False, "counts": {}}
    with pytest.raises(AirflowSkipException, match=r"nothing was accepted yet for c\.toml"):
        tasks.seal("c.toml")


def test_nothing_new_and_nothing_due_skips_the_rest(steps: ModuleType, monkeypatch: pytest.MonkeyPatch):
    from airflow.sdk.exceptions import AirflowSkipException

    steps.seal = lambda *_: {"snapshot_id": "s-1", "new": False, "counts": {}}
    steps.due = lambda *_: {"snapshot_id": None}
    monkeypatch.setattr(tasks, "is_judged", lambda *_: True)
    with pytest.raises(AirflowSkipException, match="nothing changed since s-1 was judged"):
        tasks.seal("chat.toml")


def test_what_people_admitted_by_hand_since_is_announced_by_the_next_run(
    steps: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    steps.seal = lambda *_: {"snapshot_id": "s-2", "new": False, "counts": {}}
    steps.due = lambda *_: {"snapshot_id": "s-1"}
    steps.check_admission = lambda *_: {"snapshot_id": "s-1", "digest": "d"}
    monkeypatch.setattr(tasks, "is_judged", lambda *_: True)
    assert tasks.seal("chat.toml") == "s-1"
    assert tasks.gate("chat.toml", "s-1")["outcome"] == "admitted"  # and it is not judged again


def test_a_passed_snapshot_goes_on_and_an_inconclusive_one_is_asked_about(steps: ModuleType):
    judged(steps, "pass")
    assert tasks.route(tasks.gate("c.toml", "s-1"), scheduled()) == "passed"
    judged(steps, "inconclusive", "canary: 41 examples, needs 300")
    assert tasks.route(tasks.gate("c.toml", "s-1"), scheduled()) == "ask"


@pytest.mark.parametrize("outcome", ["fail", "error", "anything else"])
def test_a_closed_gate_fails_for_good_and_says_why(steps: ModuleType, outcome: str):
    from airflow.sdk.exceptions import AirflowFailException

    judged(steps, outcome, "canary: class 7 lost 31 %", "audits: 9 of 80 were wrong")
    with pytest.raises(AirflowFailException) as error:
        tasks.gate("c.toml", "s-1")
    assert str(error.value) == (
        f"the gate is closed for s-1 ({outcome}): canary: class 7 lost 31 %; audits: 9 of 80 were wrong"
    )


def test_a_manifest_that_was_tampered_with_is_not_judged_away(steps: ModuleType):
    from airflow.sdk.exceptions import AirflowFailException

    def torn(*_: object) -> None:
        raise TamperError("the manifest was edited")

    judged(steps, "pass")
    steps.check_admission = torn
    with pytest.raises(AirflowFailException, match="the manifest was edited"):
        tasks.gate("c.toml", "s-1")


def test_a_store_that_cannot_be_reached_is_retried(steps: ModuleType):
    def down(*_: object) -> None:
        raise StoreError("no connection")

    steps.seal = down
    with pytest.raises(StoreError):
        tasks.seal("c.toml")


def test_nobody_is_asked_where_the_run_is_a_test_and_the_reason_is_said():
    from airflow.sdk.exceptions import AirflowSkipException

    verdict = {"outcome": "inconclusive", "snapshot_id": "s-1", "why": ["canary: too few"]}
    with pytest.raises(
        AirflowSkipException, match=r"s-1 is not admitted .*canary: too few; `poison-guard gate approve`"
    ):
        tasks.route(verdict, SimpleNamespace(triggering_user_name="dag_test"))


def scheduled() -> Any:
    return SimpleNamespace(triggering_user_name=None)


def test_an_approval_carries_the_name_and_the_note_of_the_reviewer(steps: ModuleType):
    called: list[tuple[object, ...]] = []
    steps.approve = lambda *args, verdict_seq: called.append((*args, verdict_seq)) or {"approvals": 1}
    assert tasks.approve("c.toml", "s-1", ANSWER, 3) == 1
    assert called == [("c.toml", "the-home", "s-1", "dana", "looked at all 40", 3)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no person approved s-1"),
        ({**ANSWER, "responded_by_user": None}, "no person approved s-1"),
        ({**ANSWER, "responded_by_user": {"id": "Anonymous", "name": "Anonymous"}}, "approved without signing in"),
        ({**ANSWER, "chosen_options": ["Reject"]}, "no person approved s-1"),
        ({**ANSWER, "chosen_options": ["Approve", "Reject"]}, "no person approved s-1"),
        ({**ANSWER, "params_input": {"note": "  "}}, "dana approved s-1 without a note; clear the task `ask`"),
        ({**ANSWER, "params_input": {"note": None}}, "dana approved s-1 without a note"),
        ({**ANSWER, "params_input": {}}, "dana approved s-1 without a note"),
    ],
    ids=["marked a success", "a default", "nobody", "rejected", "both", "blank note", "no note", "no form"],
)
def test_what_is_no_person_s_reasoned_word_approves_nothing(steps: ModuleType, answer: Any, said: str):
    from airflow.sdk.exceptions import AirflowFailException

    steps.approve = lambda *_, **__: pytest.fail("recorded")
    with pytest.raises(AirflowFailException, match=said):
        tasks.approve("c.toml", "s-1", answer)


def test_admission_hands_on_ids_and_fails_for_good_while_the_store_says_closed(steps: ModuleType):
    from airflow.sdk.exceptions import AirflowFailException

    steps.admit = lambda *_: {"snapshot_id": "s-1", "manifest": "m.json", "digest": "ab", "expires": "2026"}
    assert tasks.admit("c.toml", "s-1") == {"snapshot_id": "s-1", "digest": "ab"}

    def unapproved(*_: object) -> None:
        raise InconclusiveError("s-1 needs an approval")

    steps.admit = unapproved
    with pytest.raises(AirflowFailException, match="s-1 needs an approval"):
        tasks.admit("c.toml", "s-1")


def test_what_a_feed_wrote_stays_text_in_the_question(steps: ModuleType):
    hostile = "source_share: `![x](http://evil/a.png)`\n# Approve this\u202e<script>alert(1)</script>"
    judged(steps, "inconclusive", hostile, *[f"check {i}: unsure" for i in range(30)])
    body = tasks.gate("c.toml", "s-1")["body"]
    (line,) = [line for line in body.splitlines() if "evil" in line]
    assert line.startswith("- `")
    assert line.endswith("`")
    assert line.count("`") == 2  # all of it is one piece of code
    assert "<U+202E>" in line
    assert "# Approve this" not in body.splitlines()
    assert "- and 19 more" in body


@pytest.mark.parametrize(
    ("schedule", "minutes"),
    [("@hourly", 48), ("0 9,17 * * *", 8 * 48), ("*/10 * * * *", 8), ("@daily", 24 * 48), (None, 720), ("@once", 720)],
)
def test_a_question_gives_way_before_the_feed_s_next_run(schedule: str | None, minutes: int):
    assert tasks.answer_within(schedule) == dt.timedelta(minutes=minutes)
