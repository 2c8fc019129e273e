"""Every verb that writes, on a home where it has something to do: direct, and by the stages that a scheduler calls."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import process, world

__all__ = ["SCENARIOS", "Scenario", "Step"]

Context = dict[str, Any]
"""What earlier steps printed, and ``home``."""
Arguments = Callable[[Context], list[Any]]


@dataclass(frozen=True)
class Step:
    """One process: a command line, or one stage."""

    arguments: Arguments
    stage: str | None = None
    """Name of a method of `Guard`; None for a command line."""
    feed: str = "visits"
    save: Callable[[Context, Any], None] | None = None
    """Puts what it printed (JSON) into the context."""
    before: Callable[[Path], None] | None = None
    """What the world does before it, say a new file coming in."""
    codes: tuple[int, ...] = (0,)
    late_recall: bool = False

    def task(self, context: Context) -> Callable[[], int]:
        """Return what the child does."""
        home = Path(context["home"])
        values = [str(value) if self.stage is None else value for value in self.arguments(context)]
        if self.stage is not None:
            plain = process.stage(home / "feeds" / f"{self.feed}.toml", home, self.stage, values)
        else:
            plain = process.command([*values, "--home", str(home)])
        return with_late_recall(plain) if self.late_recall else plain


@dataclass(frozen=True)
class Scenario:
    """A verb: how its home is made, and the processes that are struck."""

    name: str
    write: Callable[[Path], None]
    prepare: tuple[Step, ...]
    steps: tuple[Step, ...]
    revokes: bool = False
    """Whether it takes back what a manifest admits; then what verifies is checked right after the kill as well."""
    makes_key: bool = False
    """Whether the home has to make its key; else there is one, so that hashes are the same each time."""


def cli(feed: str, *words: str, **more: Any) -> Step:
    """Return a step that calls ``poison-guard WORDS --feed FEED``."""
    return Step(lambda _: [*words, "--feed", feed], feed=feed, **more)


def made_of(feed: str, arguments: Arguments, **more: Any) -> Step:
    """Return a step whose command line needs what earlier steps printed."""
    return Step(lambda context: [*arguments(context), "--feed", feed], feed=feed, **more)


WHO = ("--by", "ann", "--reason", "looked at it")
BOB = ("--by", "bob", "--reason", "a known wave")


def copied(name: str, target: str) -> Callable[[Path], None]:
    """Return what lets a waiting file come in."""

    def come_in(home: Path) -> None:
        (home / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / "later" / name, home / target)

    return come_in


DAY2 = copied("quiz/day-2.csv", "inbox/quiz/day-2.csv")
VISITS2 = copied("visits/day-2.csv", "inbox/visits/day-2.csv")
POISON = copied("visits/poison.csv", "inbox/visits/poison.csv")
OUTCOMES = copied("outcomes.csv", "quiz/outcomes/told.csv")


def vetted(context: Context) -> list[Any]:
    """Return the command that enters the trusted set."""
    return ["trust", Path(context["home"]) / "vetted.csv", *WHO]


TRUST = made_of("visits", vetted)
RUN_QUIZ, RUN_VISITS = cli("quiz", "run"), cli("visits", "run")
SEAL, CHECK = cli("visits", "seal"), cli("visits", "gate", "check")
ADMITTED = (TRUST, RUN_VISITS, SEAL, CHECK)


def keep(key: str, pick: Callable[[Any], Any]) -> Callable[[Context, Any], None]:
    """Return what saves a part of a step's output."""

    def save(context: Context, told: Any) -> None:
        context[key] = pick(told)

    return save


def waiting(feed: str) -> Step:
    """Return the step that lists the queue and keeps the ids that wait."""
    ids = keep("waiting", lambda told: [row["record_id"] for row in told["entries"]])
    return cli(feed, "review", "list", "--json", save=ids)


def keep_or_skip(key: str, pick: Callable[[Any], Any]) -> Callable[[Context, Any], None]:
    """Return what saves a part of a step's output; where that is None, the rest of the DAG is skipped."""

    def save(context: Context, told: Any) -> None:
        context[key] = pick(told)
        context["skip"] = context[key] is None

    return save


MODELS = cli("visits", "models", "--json", save=keep("models", lambda told: [m["model_id"] for m in told["models"]]))
POISONED = (*ADMITTED, dataclasses.replace(RUN_VISITS, before=POISON), SEAL, dataclasses.replace(CHECK, codes=(1,)))
APPROVE_ANN = cli("visits", "gate", "approve", *WHO, "--expires", "3", codes=(1,))
APPROVE_BOB = cli("visits", "gate", "approve", *BOB, "--expires", "3")


def stages_of_run(feed: str, partitions: int, **first: Any) -> tuple[Step, ...]:
    """Return the tasks of the guard's DAG up to the commit."""
    begun = keep_or_skip("run", lambda told: told["run_id"])

    def run_id(context: Context) -> list[Any]:
        return [context["run"]]

    scored = tuple(
        Step(lambda context, part=part: [context["run"], part], stage="stage_score", feed=feed)
        for part in range(partitions)
    )
    return (
        Step(lambda _: [], stage="stage_collect", feed=feed, save=begun, **first),
        Step(run_id, stage="stage_validate", feed=feed),
        *scored,
        Step(run_id, stage="stage_decide", feed=feed),
        Step(run_id, stage="stage_commit", feed=feed),
    )


def snapshot(context: Context) -> list[Any]:
    """Return the snapshot as the only argument."""
    return [context["snapshot"]]


def model(context: Context) -> list[Any]:
    """Return the model as the only argument."""
    return [context["model"]]


STAGE_SEAL = Step(lambda _: [], stage="stage_seal", save=keep("snapshot", lambda told: told["snapshot_id"]))
STAGE_GATE, STAGE_ADMIT = Step(snapshot, stage="stage_gate"), Step(snapshot, stage="stage_admit")
STAGE_TRAIN = Step(snapshot, stage="stage_train", save=keep("model", lambda told: told["model_id"]))

STAGES_OF_TRAINING = (
    Step(lambda _: [], stage="due", save=keep_or_skip("snapshot", lambda told: told["snapshot_id"])),
    Step(snapshot, stage="check_admission"),
    STAGE_TRAIN,
    Step(model, stage="stage_evaluate"),
    Step(model, stage="stage_promote"),
)


def with_late_recall(task: Callable[[], int]) -> Callable[[], int]:
    """Return a task whose run finds a campaign that two records accepted earlier belong to."""

    def patched() -> int:
        import pandas as pd

        from poison_guard.records import Campaign, Reason
        from poison_guard.steps import run

        ids = ("a0000", "a0001")
        found = Campaign("c-late", "lockstep", 1e-6, 0.9, (), ("u1",), None, None, Reason("lockstep", {}), ids)
        taken = pd.DataFrame({"record_id": list(ids), "campaign_id": "c-late"}).astype("str")
        decide = run.decide_batch

        def decide_with_recalls(*args: Any, **more: Any) -> Any:
            decided = decide(*args, **more)
            return dataclasses.replace(decided, recalls=taken, campaigns=(*decided.campaigns, found))

        run.decide_batch = decide_with_recalls
        return task()

    return patched


QUIZ_SEALED = (RUN_QUIZ, cli("quiz", "seal"))
LATER = dataclasses.replace(RUN_QUIZ, before=DAY2)
UNDO = made_of("visits", lambda context: ["review", "undo", context["event"], *WHO])
RELEASE = made_of("visits", lambda context: ["review", "release", *context["waiting"], *WHO])
REJECT = made_of("visits", lambda context: ["review", "reject", *context["waiting"], *WHO])
RECALL = cli("visits", "recall", *WHO, "--source", "sd9")
ERASE = cli("visits", "erase", "sd9", *WHO)


def with_event(step: Step) -> Step:
    """Return the step with its event kept, for `undo`."""
    arguments = step.arguments
    save = keep("event", lambda told: told["event"])
    return dataclasses.replace(step, arguments=lambda context: [*arguments(context), "--json"], save=save)


RETRAIN = cli("visits", "retrain")
TWO_CHAMPIONS = (*ADMITTED, RETRAIN, dataclasses.replace(RUN_VISITS, before=VISITS2), SEAL, CHECK, RETRAIN, MODELS)

_ALL = (
    Scenario("run, first", world.write_quiz, (), (RUN_QUIZ,)),
    Scenario("run, first, with a new key", world.write_quiz_without_audits, (), (RUN_QUIZ,), makes_key=True),
    Scenario("run, later", world.write_quiz, (RUN_QUIZ,), (LATER,)),
    Scenario("run, late recall", world.write_quiz, QUIZ_SEALED, (dataclasses.replace(LATER, late_recall=True),), True),
    Scenario("run, staged again", world.write_visits, (RUN_VISITS, TRUST), (RUN_VISITS,)),
    Scenario("run, with features", world.write_visits, (TRUST,), (RUN_VISITS,)),
    Scenario("run, by stages", world.write_quiz, (RUN_QUIZ,), stages_of_run("quiz", 2, before=DAY2)),
    Scenario("run, first, by stages", world.write_quiz, (), stages_of_run("quiz", 2)),
    Scenario("run, parquet", world.write_quiz_parquet, (), (RUN_QUIZ,)),
    Scenario("trust", world.write_visits, (), (TRUST,)),
    Scenario("trust, later", world.write_visits, (RUN_VISITS,), (TRUST,)),
    Scenario("outcomes", world.write_quiz, (RUN_QUIZ,), (Step(lambda _: [], "outcomes", "quiz", before=OUTCOMES),)),
    Scenario("sources --block", world.write_quiz, (RUN_QUIZ,), (cli("quiz", "sources", "--block", "u3", *WHO),)),
    Scenario("review release", world.write_visits, (TRUST, RUN_VISITS, waiting("visits")), (RELEASE,)),
    Scenario("review reject", world.write_visits, (TRUST, RUN_VISITS, waiting("visits")), (REJECT,)),
    Scenario(
        "review undo",
        world.write_visits,
        (TRUST, RUN_VISITS, waiting("visits"), with_event(RELEASE), SEAL, CHECK),
        (UNDO,),
        True,
    ),
    Scenario("seal", world.write_visits, (TRUST, RUN_VISITS), (SEAL,)),
    Scenario("seal, later", world.write_visits, (*ADMITTED, dataclasses.replace(RUN_VISITS, before=VISITS2)), (SEAL,)),
    Scenario("gate check, first", world.write_visits, (TRUST, RUN_VISITS, SEAL), (CHECK,)),
    Scenario(
        "gate check, later",
        world.write_visits,
        (*ADMITTED, dataclasses.replace(RUN_VISITS, before=VISITS2), SEAL),
        (CHECK,),
    ),
    Scenario("gate approve, one of two", world.write_visits, POISONED, (APPROVE_ANN,)),
    Scenario("gate approve, two of two", world.write_visits, (*POISONED, APPROVE_ANN), (APPROVE_BOB,)),
    Scenario("retrain", world.write_visits, ADMITTED, (RETRAIN,)),
    Scenario("recall", world.write_visits, ADMITTED, (RECALL,), True),
    Scenario("erase", world.write_visits, ADMITTED, (ERASE,), True),
    Scenario("recall, with a champion", world.write_visits, (*ADMITTED, RETRAIN), (RECALL,), True),
    Scenario(
        "rollback",
        world.write_visits,
        TWO_CHAMPIONS,
        (made_of("visits", lambda context: ["rollback", "--to", context["models"][-1], *WHO]),),
    ),
    Scenario(
        "seal, gate, admit by stages", world.write_visits, (TRUST, RUN_VISITS), (STAGE_SEAL, STAGE_GATE, STAGE_ADMIT)
    ),
    Scenario("train, evaluate, promote by stages", world.write_visits, ADMITTED, STAGES_OF_TRAINING),
    Scenario(
        "export",
        world.write_quiz,
        (RUN_QUIZ,),
        (made_of("quiz", lambda context: ["export", "--out", Path(context["home"]) / "out.csv"]),),
    ),
    Scenario("report", world.write_quiz, (RUN_QUIZ,), (Step(lambda _: ["report"], feed="quiz"),)),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def saved(step: Step, context: Context, out: str) -> None:
    """Let a step keep what it printed."""
    if step.save is not None:
        step.save(context, json.loads(out))
