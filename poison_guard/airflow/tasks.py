"""Bodies of the tasks of the DAGs guard_<feed> and retrain_<feed>: each calls the guard and returns ids alone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from poison_guard.airflow.feeds import guard_home
from poison_guard.errors import ClosedError, GuardError, TamperError, UsageError
from poison_guard.guard import Guard
from poison_guard.records import Person
from poison_guard.text import visible

if TYPE_CHECKING:
    from airflow.sdk.types import DagRunProtocol

__all__ = [
    "admit",
    "answer_within",
    "approve",
    "collect",
    "decide",
    "due",
    "evaluate",
    "final_errors",
    "gate",
    "promote",
    "report",
    "report_changes",
    "route",
    "score",
    "seal",
    "store",
    "train",
    "validate",
    "verify",
]


_log = logging.getLogger(__name__)
_LINE = 1000
"""Characters of a sentence in a task's log; what it quotes from a feed has its hidden characters made visible."""


def _say(*sentences: str) -> None:
    """Write sentences into the task's log."""
    for text in sentences:
        _log.info("%s", visible(text, limit=_LINE))


@contextmanager
def final_errors() -> Iterator[None]:
    """Fail the task for good on a closed gate and on errors in what a person wrote or a file holds; retry others."""
    from poison_guard.airflow.versions import AirflowFailException

    try:
        yield
    except (UsageError, TamperError, ClosedError) as error:
        raise AirflowFailException(str(error)) from error


def opened(contract: str) -> Guard:
    """Return the guard of a contract in the home that the DAGs work in."""
    return Guard.open(contract, guard_home())


def collect(contract: str) -> dict[str, Any]:
    """Take in what is new: ``guard_run`` and its ``partitions``; skips the rest of the DAG when nothing is."""
    from poison_guard.airflow.versions import AirflowSkipException

    with final_errors():
        batch = opened(contract).stage_collect()
    if batch.run_id is None:
        raise AirflowSkipException(f"nothing new for {contract}")
    _say(f"run {batch.run_id}: {len(batch.partitions)} partitions to score")
    return {"guard_run": batch.run_id, "partitions": list(batch.partitions)}


def validate(contract: str, guard_run: str, partitions: list[int]) -> list[int]:
    """Check the batch against its suite; returns the partitions to score."""
    with final_errors():
        opened(contract).stage_validate(guard_run)
    return partitions


def score(contract: str, guard_run: str, partition: int) -> None:
    """Score the records of one partition."""
    with final_errors():
        opened(contract).stage_score(guard_run, partition)


def decide(contract: str, guard_run: str) -> None:
    """Find campaigns and bad sources over all partitions, then decide every record."""
    with final_errors():
        opened(contract).stage_decide(guard_run)


def store(contract: str, guard_run: str) -> dict[str, int]:
    """Commit the run, once however often this is called; returns its counts."""
    with final_errors():
        counts = dict(opened(contract).stage_commit(guard_run).counts)
    shown = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n)
    _say(f"stored run {guard_run}: {shown or 'no record'}")
    with suppress(GuardError):  # what is stored is stored: a file of figures that cannot be written is no failed task
        from poison_guard.web.counters import write_counters

        write_counters(guard_home())
    return counts


def report(contract: str) -> str:
    """Write the page of the feed's newest run into the home, with the gate and the models as they are now."""
    from poison_guard.web.report import write_report

    with final_errors():
        guard = opened(contract)
        result = guard.report()
        page = str(write_report(result, home=guard.home))
    held = [f"{row['n']:,} records: {row['examples'][0]['sentence']}" for row in result.reasons if row["examples"]]
    _say(str(result), *held[:_SHOWN], *(f"note: {note}" for note in result.notes), f"the page is {page}")
    return page


def report_changes(contract: str, ti: Any = None) -> str:
    """Write the page as `report` does; skips when the run neither stored a batch nor had a snapshot to judge."""
    from poison_guard.airflow.versions import AirflowSkipException

    if ti.xcom_pull(task_ids="store") is None and ti.xcom_pull(task_ids="seal") is None:
        raise AirflowSkipException(f"nothing changed for {contract}")
    return report(contract)


_TESTING = "dag_test"
"""Who `DAG.test` says has triggered a run (Airflow 3.1 and later)."""
_NOBODY = "anonymous"
"""Name of whoever uses an Airflow without accounts (``simple_auth_manager_all_admins``)."""
_UNSCHEDULED = dt.timedelta(hours=12)
_SHARE = 0.8
_TICKS = 8
_SHOWN, _CUT = 12, 300
"""Sentences put before a reviewer, and characters of each."""


def seal(contract: str) -> str:
    """Seal what may be learned from; returns the id of the snapshot to judge.

    Skips for a feed that no model can learn from, while nothing is accepted, where a feed that observes accepted what
    nothing could judge, and when the last snapshot was judged and is not due. A snapshot is due where
    its admission lapses, people have approved it since, or its event was lost.
    """
    from poison_guard.airflow.versions import AirflowSkipException

    with final_errors():
        guard = opened(contract)
        sealed = guard.stage_seal()
        if sealed.lacks is not None:
            raise AirflowSkipException(f"no model can learn from {contract}: it maps no {sealed.lacks}")
        if sealed.unjudged is not None:
            raise AirflowSkipException(f"what {contract} accepted was not judged: {sealed.unjudged}")
        if sealed.snapshot_id is None:
            raise AirflowSkipException(f"nothing was accepted yet for {contract}")
        examples = sealed.counts.get("examples", 0)
        _say(f"{'sealed' if sealed.new else 'nothing changed since'} {sealed.snapshot_id}: {examples:,} examples")
        if sealed.new or not sealed.judged:
            return sealed.snapshot_id
        if (due := guard.due().snapshot_id) is not None:
            return due
    raise AirflowSkipException(f"nothing changed since {sealed.snapshot_id} was judged")


def gate(contract: str, snapshot_id: str) -> dict[str, Any]:
    """Judge a snapshot; returns ``outcome, snapshot_id, verdict_seq, why`` and the question, ``subject`` and ``body``.

    A snapshot that is admitted already is not judged again. Fails for good on FAIL and ERROR.
    """
    from poison_guard.airflow.versions import AirflowFailException

    verdict: dict[str, Any] = {"snapshot_id": snapshot_id, "outcome": "admitted", "verdict_seq": None, "why": []}
    with final_errors():
        guard = opened(contract)
        try:
            guard.check_admission(snapshot_id)
        except ClosedError:
            verdict = guard.stage_gate(snapshot_id).to_dict()
    outcome, why = verdict["outcome"], verdict["why"]
    _say(f"{snapshot_id}: {outcome}", *(f"why: {sentence}" for sentence in why))
    if outcome not in ("pass", "inconclusive", "admitted"):
        raise AirflowFailException(f"the gate is closed for {snapshot_id} ({outcome}): {'; '.join(why)}")
    return {
        **verdict,
        "subject": f"Train on {snapshot_id}? The gate could not judge it",
        "body": _question(why),
    }


def route(verdict: Mapping[str, Any], dag_run: DagRunProtocol) -> str:
    """Return the task to go on with: ``passed``, or ``ask`` a person.

    In `DAG.test` there is nobody to ask and nothing that would time the question out, so the run ends here, not
    admitted; whoever wants to may still approve by hand.
    """
    from poison_guard.airflow.versions import AirflowSkipException

    if verdict["outcome"] != "inconclusive":
        return "passed"
    if dag_run.triggering_user_name == _TESTING:
        raise AirflowSkipException(
            f"{verdict['snapshot_id']} is not admitted and nobody can be asked here: {'; '.join(verdict['why'])}; "
            "`poison-guard gate approve` takes a person's approval"
        )
    return "ask"


def approve(contract: str, snapshot_id: str, answer: Mapping[str, Any] | None, verdict_seq: int | None = None) -> int:
    """Record the approval of the person who answered, with their note as the reason; returns the number of approvals.

    It is of the verdict that they were asked about: fails for good where the snapshot was judged again meanwhile.

    `answer` is what `ApprovalOperator` returns. Fails for good when no person answered, when they wrote no note, and on
    anything but an approval: a default that a timeout filled in, or a task marked a success, is nobody's word.
    """
    with final_errors():
        by, reason = _person(snapshot_id, answer or {})
        by = Person(by, "airflow")
        return opened(contract).stage_approve(snapshot_id, by=by, reason=reason, verdict_seq=verdict_seq).approvals


def _person(snapshot_id: str, answer: Mapping[str, Any]) -> tuple[str, str]:
    by = (answer.get("responded_by_user") or {}).get("name")
    if not by or answer.get("chosen_options") != ["Approve"]:
        raise UsageError(f"no person approved {snapshot_id}; clear the task `ask` to ask again")
    if str(by).strip().casefold() == _NOBODY:
        raise UsageError(f"{snapshot_id} was approved without signing in; give Airflow users names, then clear `ask`")
    note = str((answer.get("params_input") or {}).get("note") or "").strip()
    if not note:
        raise UsageError(f"{by} approved {snapshot_id} without a note; clear the task `ask` and say why in the note")
    return str(by), note


def admit(contract: str, snapshot_id: str) -> dict[str, str]:
    """Sign the admission; returns ``snapshot_id`` and the ``digest`` of its manifest. Fails for good while closed."""
    with final_errors():
        admission = opened(contract).stage_admit(snapshot_id)
    _say(f"{admission.snapshot_id} is admitted for training")
    return {"snapshot_id": admission.snapshot_id, "digest": admission.digest}


def answer_within(schedule: str | None) -> dt.timedelta:
    """Return how long a question stands: four fifths of the shortest time between two runs of the feed.

    The runs of a feed with a schedule are serial, so an open question holds up the next one; it gives way in time, with
    newer data to ask about. Half a day for a feed that no clock runs, whose next run does not wait for the answer.
    """
    from croniter import croniter

    if schedule is None or not croniter.is_valid(schedule):  # such as @once, which is no cron line
        return _UNSCHEDULED
    ticks = croniter(schedule, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    times = [ticks.get_next(dt.datetime) for _ in range(_TICKS)]
    return _SHARE * min(later - sooner for sooner, later in pairwise(times))


def _question(why: list[str]) -> str:
    """Return the checks that could not be judged as Markdown; what they quote from a feed stays text."""
    shown = [f"- `{visible(sentence, limit=_CUT).replace('`', chr(39))}`" for sentence in why[:_SHOWN]]
    more = [f"- and {len(why) - _SHOWN} more"] if len(why) > _SHOWN else []
    rule = "Approving signs the admission in your name, with your note as the reason. Without an answer it is rejected."
    return "\n".join(["These checks could not be judged:", "", *shown, *more, "", rule])


def due(contract: str) -> str:
    """Return the admitted snapshot that no model was trained on yet; skips the rest of the DAG when there is none.

    Events only wake the DAG: two of them, or one that came late, find that the store has nothing left to do.
    """
    from poison_guard.airflow.versions import AirflowSkipException

    with final_errors():
        snapshot = opened(contract).due().snapshot_id
    if snapshot is None:
        raise AirflowSkipException(f"nothing is due for {contract}")
    return snapshot


def verify(contract: str, snapshot_id: str) -> str:
    """Check the stored manifest against data and revocations; returns the snapshot, fails for good if closed."""
    with final_errors():
        return opened(contract).check_admission(snapshot_id).snapshot_id


def train(contract: str, snapshot_id: str) -> str:
    """Train on an admitted snapshot; returns the model's id. A retry goes on where a killed training stopped."""
    with final_errors():
        return opened(contract).stage_train(snapshot_id).model_id


def evaluate(contract: str, model_id: str) -> dict[str, Any]:
    """Measure a model on what it was not trained on; returns its figures."""
    with final_errors():
        return dict(opened(contract).stage_evaluate(model_id).metrics)


def promote(contract: str, model_id: str) -> dict[str, Any]:
    """Make a model the feed's champion, or refuse it; returns ``promoted`` and ``why``. A refusal is no failure."""
    with final_errors():
        decision = opened(contract).stage_promote(model_id)
    _say(f"{model_id} is {'promoted' if decision.promoted else 'not promoted'}: {decision.why}")
    return {"model_id": model_id, "promoted": decision.promoted, "why": decision.why}
