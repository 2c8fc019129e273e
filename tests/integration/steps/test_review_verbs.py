"""The verbs of a review through `Guard` and `Home`: claims, decisions, dry runs, and a home that is not there."""

from __future__ import annotations

import json

import pytest

from poison_guard import Guard
from poison_guard.errors import BusyError, NotFoundError, UsageError
from poison_guard.guard import Home
from poison_guard.review.filters import QueueFilter
from poison_guard.steps import review
from tests.integration.steps.conftest import CONTRACT, answers, copied, put

PERSON = {"by": "ann", "reason": "looked at it"}
RECORD = "r1-00000"


@pytest.fixture(scope="module")
def recalled(tmp_path_factory):
    """A feed without features, whose records are accepted without a trusted set; one of them is recalled."""
    folder = tmp_path_factory.mktemp("recalled")
    text = CONTRACT.replace('features = ["dwell", "speed"]\n', "") + "[policy]\naudit_rate = 0.0\n"
    (folder / "quiz.toml").write_text(text)
    guard = Guard.open(folder / "quiz.toml", home=folder / "home")
    put(guard.home, answers(60, 1), "a.csv")
    guard.ingest()
    guard.recall(record_ids=RECORD, **PERSON)
    return guard


@pytest.fixture
def guard(recalled, tmp_path):
    return copied(recalled, tmp_path)


def test_what_one_reviewer_claimed_nobody_else_decides_until_it_is_given_back(guard):
    held = guard.claim(by="bob", record_ids=RECORD)
    assert held.record_ids == (RECORD,)
    with pytest.raises(BusyError, match="being reviewed by bob"):
        guard.release(record_ids=RECORD, **PERSON)
    with pytest.raises(BusyError):
        guard.reject(record_ids=RECORD, by="bob", reason="forged", token="another window")
    assert guard.unclaim(held.token).records == 1
    again = guard.claim(by="bob")
    done = guard.release(record_ids=again.record_ids, by="bob", reason="fine", token=again.token)
    assert (done.verb, dict(done.places)) == ("release", {"recalled": 1})


def test_the_queue_the_record_and_the_decisions_tell_the_same_story(guard):
    assert guard.queue().entries["record_id"].tolist() == [RECORD]
    assert guard.queue(QueueFilter(kind="held")).total == 0
    facts = guard.explain(RECORD)
    assert facts.record["place"] == "recalled"
    assert guard.show(RECORD).to_dict() == facts.to_dict() == Home.open(guard.home).explain(RECORD).to_dict()
    assert guard.decided().entries["verb"].tolist() == ["recall"]
    assert guard.campaigns().campaigns.empty
    assert guard.sources().total == len(guard.sources().sources) > 0
    assert json.dumps(guard.sources(limit=1).to_dict(), allow_nan=False)


def test_what_a_recall_killed_after_its_commit_left_out_of_the_queue_the_same_recall_shows(guard, monkeypatch):
    def die(feed):
        raise KeyboardInterrupt

    wanted = {"record_ids": "r1-00001", **PERSON}
    with monkeypatch.context() as patched:
        patched.setattr(review, "show_in_queue", die)
        with pytest.raises(KeyboardInterrupt):
            guard.recall(**wanted)
    assert guard.queue().entries["preview"].isna().sum() == 1
    assert guard.recall(**wanted).again
    assert guard.queue().entries["preview"].notna().all()


def test_a_dry_run_of_trust_counts_flaws_and_enters_nothing(guard):
    dry = guard.trust(answers(30, 9, prefix="t"), dry_run=True, **PERSON)
    assert (dry.records, dry.refused, dry.n, dry.seq) == (30, False, 0, None)
    done = guard.trust(answers(30, 9, prefix="t"), **PERSON)
    assert (done.added, done.n, done.to_dict()["trusted"]) == (30, 30, 30)
    assert guard.judge_trusted("t9-00001", wrong=True, dry_run=True, **PERSON).event is None


VERBS = {
    "queue": {},
    "bootstrap": {"n": 5},
    "campaigns": {},
    "sources": {},
    "explain": {"record_id": "a"},
    "claim": {"by": "ann"},
    "unclaim": {"token": "t"},
    "release": {"record_ids": "a", **PERSON},
    "reject": {"record_ids": "a", **PERSON},
    "recall": {"record_ids": "a", **PERSON},
    "undo": {"event": 1, **PERSON},
    "block": {"source_id": "eve", **PERSON},
    "unblock": {"source_id": "eve", **PERSON},
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_on_a_home_that_is_not_there_says_so_and_makes_none(tmp_path, verb):
    (tmp_path / "quiz.toml").write_text(CONTRACT)
    guard = Guard.open(tmp_path / "quiz.toml", home=tmp_path / "typo")
    says = "quiz has no records to draw from yet; `poison-guard run" if verb == "bootstrap" else "there is no store in"
    with pytest.raises(NotFoundError, match=says):
        getattr(guard, verb)(**VERBS[verb])
    assert not guard.home.exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"size": 0}, "size from 1 to 2,000, got 1 and 0"),
        ({"page": 0}, "page is 1 or more"),
        ({"group_by": "kind"}, "group_by is one of campaign, source, .*, got 'kind'"),
        ({"sort": "random"}, "sort is one of risk, oldest, newest, got 'random'"),
    ],
)
def test_a_queue_that_cannot_be_listed_so_is_refused_in_a_sentence(guard, asked, message):
    with pytest.raises(UsageError, match=message):
        guard.queue(**asked)


def test_no_record_ids_and_a_draw_of_none_are_refused(guard):
    with pytest.raises(UsageError, match="release needs at least one record id"):
        guard.release(record_ids=[], **PERSON)
    with pytest.raises(UsageError, match="got -5"):
        guard.bootstrap(-5)
