from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import ClosedError, InconclusiveError, StoreError, TamperError
from poison_guard.guard import Guard
from poison_guard.steps.admission import Admitted
from poison_guard.steps.stages import ApproveStage, Due, GateStage, SealStage

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

ANSWER = {
    "chosen_options": ["Approve"],
    "params_input": {"note": " looked at all 40 "},
    "responded_by_user": {"id": "7", "name": "dana"},
}

ADMITTED = Admitted("s-1", Path("m.json"), "ab", dt.datetime(2026, 12, 1, tzinfo=dt.UTC), 9)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")


def closed(*_: object) -> None:
    raise ClosedError("no admission")


def judged(guard: Any, outcome: str, *why: str) -> None:
    guard.check_admission = closed
    guard.stage_gate = lambda *_: GateStage("s-1", outcome, 3, why)


def test_a_new_snapshot_goes_on_to_the_gate(guard: Any):
    guard.stage_seal = lambda: SealStage("s-1", new=True, judged=False)
    assert tasks.seal("chat.toml") == "s-1"
    assert guard.opened == [("chat.toml", "the-home")]


def test_a_snapshot_that_a_crash_left_unjudged_is_judged_though_it_is_not_new(guard: Any):
    guard.stage_seal = lambda: SealStage("s-1", new=False, judged=False)
    assert tasks.seal("chat.toml") == "s-1"


@pytest.mark.parametrize(
    ("columns", "lacks"),
    [
        ('features = ["speed"]', "label, answer or rating"),
        ('item_id = "word"\nanswer = "answer"', "[items]"),
        ('features = ["speed"]\nlabel = "human"', None),
        ('text = "message"\nrating = "stars"', None),
        ('prompt = "asked"\nchosen = "a"\nrejected = "b"', None),
        ('text = "document"', None),
    ],
)
def test_a_feed_without_labels_or_content_has_nothing_to_gate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str, lacks: str | None
):
    from poison_guard.airflow.versions import AirflowSkipException

    monkeypatch.setenv("POISON_GUARD_HOME", str(tmp_path / "home"))
    file = tmp_path / "feed.toml"
    file.write_text(
        f'name = "feed"\nkind = "examples"\n[data]\npath = "x.csv"\n[columns]\nsource_id = "user"\n{columns}\n'
    )
    assert Guard.open(file, home=tmp_path / "home").stage_seal().lacks == lacks
    if lacks:
        with pytest.raises(AirflowSkipException, match=f"no model can learn from .*: it maps no {re.escape(lacks)}"):
            tasks.seal(str(file))


def test_a_feed_that_accepted_nothing_yet_has_nothing_to_judge(guard: Any):
    from poison_guard.airflow.versions import AirflowSkipException

    guard.stage_seal = lambda: SealStage(None, new=False, judged=False)
    with pytest.raises(AirflowSkipException, match=r"nothing was accepted yet for c\.toml"):
        tasks.seal("c.toml")


def test_nothing_new_and_nothing_due_skips_the_rest(guard: Any):
    from poison_guard.airflow.versions import AirflowSkipException

    guard.stage_seal = lambda: SealStage("s-1", new=False, judged=True)
    guard.due = lambda: Due(None)
    with pytest.raises(AirflowSkipException, match="nothing changed since s-1 was judged"):
        tasks.seal("chat.toml")


def test_what_people_admitted_by_hand_since_is_announced_by_the_next_run(guard: Any):
    guard.stage_seal = lambda: SealStage("s-2", new=False, judged=True)
    guard.due = lambda: Due("s-1")
    guard.check_admission = lambda _: ADMITTED
    assert tasks.seal("chat.toml") == "s-1"
    assert tasks.gate("chat.toml", "s-1")["outcome"] == "admitted"  # and it is not judged again


def test_a_passed_snapshot_goes_on_and_an_inconclusive_one_is_asked_about(guard: Any):
    judged(guard, "pass")
    assert tasks.route(tasks.gate("c.toml", "s-1"), scheduled()) == "passed"
    judged(guard, "inconclusive", "canary: 41 examples, needs 300")
    assert tasks.route(tasks.gate("c.toml", "s-1"), scheduled()) == "ask"


@pytest.mark.parametrize("outcome", ["fail", "error", "anything else"])
def test_a_closed_gate_fails_for_good_and_says_why(guard: Any, outcome: str):
    from poison_guard.airflow.versions import AirflowFailException

    judged(guard, outcome, "canary: class 7 lost 31 %", "audits: 9 of 80 were wrong")
    with pytest.raises(AirflowFailException) as error:
        tasks.gate("c.toml", "s-1")
    assert str(error.value) == (
        f"the gate is closed for s-1 ({outcome}): canary: class 7 lost 31 %; audits: 9 of 80 were wrong"
    )


def test_a_manifest_that_was_tampered_with_is_not_judged_away(guard: Any):
    from poison_guard.airflow.versions import AirflowFailException

    def torn(*_: object) -> None:
        raise TamperError("the manifest was edited")

    judged(guard, "pass")
    guard.check_admission = torn
    with pytest.raises(AirflowFailException, match="the manifest was edited"):
        tasks.gate("c.toml", "s-1")


def test_a_store_that_cannot_be_reached_is_retried(guard: Any):
    def down(*_: object) -> None:
        raise StoreError("no connection")

    guard.stage_seal = down
    with pytest.raises(StoreError):
        tasks.seal("c.toml")


def test_nobody_is_asked_where_the_run_is_a_test_and_the_reason_is_said():
    from poison_guard.airflow.versions import AirflowSkipException

    verdict = {"outcome": "inconclusive", "snapshot_id": "s-1", "why": ["canary: too few"]}
    with pytest.raises(
        AirflowSkipException, match=r"s-1 is not admitted .*canary: too few; `poison-guard gate approve`"
    ):
        tasks.route(verdict, SimpleNamespace(triggering_user_name="dag_test"))


def scheduled() -> Any:
    return SimpleNamespace(triggering_user_name=None)


def test_an_approval_carries_the_name_and_the_note_of_the_reviewer(guard: Any):
    called: list[tuple[object, ...]] = []
    guard.stage_approve = lambda snapshot_id, **words: (
        called.append((snapshot_id, words)) or ApproveStage(snapshot_id, 1)
    )
    assert tasks.approve("c.toml", "s-1", ANSWER, 3) == 1
    assert called == [("s-1", {"by": "dana", "reason": "looked at all 40", "verdict_seq": 3})]


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
def test_what_is_no_person_s_reasoned_word_approves_nothing(guard: Any, answer: Any, said: str):
    from poison_guard.airflow.versions import AirflowFailException

    guard.stage_approve = lambda *_, **__: pytest.fail("recorded")
    with pytest.raises(AirflowFailException, match=said):
        tasks.approve("c.toml", "s-1", answer)


def test_admission_hands_on_ids_and_fails_for_good_while_the_store_says_closed(guard: Any):
    from poison_guard.airflow.versions import AirflowFailException

    guard.stage_admit = lambda _: ADMITTED
    assert tasks.admit("c.toml", "s-1") == {"snapshot_id": "s-1", "digest": "ab"}

    def unapproved(*_: object) -> None:
        raise InconclusiveError("s-1 needs an approval")

    guard.stage_admit = unapproved
    with pytest.raises(AirflowFailException, match="s-1 needs an approval"):
        tasks.admit("c.toml", "s-1")


def test_what_a_feed_wrote_stays_text_in_the_question(guard: Any):
    hostile = "source_share: `![x](http://evil/a.png)`\n# Approve this\u202e<script>alert(1)</script>"
    judged(guard, "inconclusive", hostile, *[f"check {i}: unsure" for i in range(30)])
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
