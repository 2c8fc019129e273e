"""However a run is cut into stages, killed, tried again or overtaken, the store ends as if it had run in one go."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard import Guard
from poison_guard.steps.opening import open_feed
from poison_guard.store import tables
from tests.integration.steps.conftest import CONTRACT, answers, put
from tests.integration.steps.test_run import stored
from tests.thorough import examples

PERSON = {"by": "reviewer-1", "reason": "looked at it"}
STAGES = ("collect", "validate", "score", "decide", "commit")

batches = st.fixed_dictionaries(
    {
        "n": st.integers(1, 220),
        "killed_after": st.lists(st.sampled_from(STAGES), max_size=2),
        "overtaken_after": st.sampled_from((None, *STAGES[:-1])),
        "overtaker_is_wider": st.booleans(),
        "repeats_ids": st.booleans(),
        "edited_after": st.sampled_from((None, *STAGES[:-1])),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), batches),
        st.tuples(st.sampled_from(("release", "reject")), st.just(None)),
        st.tuples(st.just("partition_rows"), st.sampled_from((50, 150, 1000))),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def vetted(tmp_path_factory):
    """A home with a trusted set, to be copied."""
    folder = tmp_path_factory.mktemp("vetted")
    (folder / "quiz.toml").write_text(CONTRACT)
    guard = Guard.open(folder / "quiz.toml", home=folder / "home")
    guard.trust(answers(900, 99, prefix="t"), **PERSON)
    return folder


def policies(guard: Guard) -> list[str]:
    """The policies that the runs say they were decided by, in the order of their commits."""
    with open_feed(guard.contract_path, guard.home) as feed, feed.store.read() as conn:
        runs = tables.runs.c
        return list(conn.execute(sa.select(runs.policy_hash).order_by(runs.commit_seq)).scalars())


class Twins:
    """Two homes that are told the same; one runs in one go, one in stages that die, begin again and are overtaken."""

    def __init__(self, vetted: Path, folder: Path) -> None:
        self.folders = [folder / "direct", folder / "scheduled"]
        for each in self.folders:
            shutil.copytree(vetted, each)
        self.open()

    def open(self) -> None:
        self.direct, self.scheduled = (Guard.open(each / "quiz.toml", home=each / "home") for each in self.folders)

    def partition_rows(self, rows: int) -> None:
        self.edit("partition_rows = 150", f"partition_rows = {rows}")

    def edit(self, old: str, new: str) -> None:
        for each in self.folders:
            (each / "quiz.toml").write_text(CONTRACT.replace(old, new))
        self.open()

    def review(self, verb: str) -> None:
        for guard in (self.direct, self.scheduled):
            rows = stored(guard)
            for record_id in sorted(rows.loc[rows["place"] == "quarantined", "record_id"])[:1]:
                getattr(guard, verb)(record_ids=[record_id], **PERSON)

    def run(self, name: str, frame: pd.DataFrame, overtaker: pd.DataFrame, how: dict) -> None:
        for guard in (self.direct, self.scheduled):
            put(guard.home, frame, name)
        how = {**how, "overtaken_after": None if how["edited_after"] else how["overtaken_after"]}
        if how["overtaken_after"]:
            self.direct.ingest(overtaker)
        self.edited_after = how["edited_after"]
        if not self.edited_after:
            self.direct.ingest()
        overtakes = {how["overtaken_after"]: overtaker} if how["overtaken_after"] else {}
        for dies_after in (*how["killed_after"], None):
            self.walk(dies_after, overtakes)
        for late in overtakes.values():
            self.scheduled.ingest(late)
        if how["edited_after"]:
            self.direct.ingest()  # in one go, by the contract that the last stages saw
        pd.testing.assert_frame_equal(stored(self.direct), stored(self.scheduled))
        assert policies(self.direct) == policies(self.scheduled)

    def walk(self, dies_after: str | None, overtakes: dict[str, pd.DataFrame]) -> None:
        """Call the stages as tasks do, up to `dies_after`; whoever overtakes after a stage is taken out of the dict."""
        guard = self.scheduled
        batch = guard.stage_collect()
        run_id = batch.run_id
        stages = {
            "collect": lambda: None,
            "validate": lambda: guard.stage_validate(run_id),
            "score": lambda: [guard.stage_score(run_id, part) for part in reversed(batch.partitions)],
            "decide": lambda: guard.stage_decide(run_id),
            "commit": lambda: guard.stage_commit(run_id),
        }
        for stage in () if run_id is None else STAGES:
            stages[stage]()
            if stage == self.edited_after:
                self.edited_after = None
                self.edit("[columns]", "[policy]\nfalse_quarantine_rate = 0.04\n[columns]")
                guard = self.scheduled
            if stage in overtakes:
                guard.ingest(overtakes.pop(stage))
            if stage == dies_after:
                return


@settings(max_examples=examples(2), deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=steps, seed=st.integers(0, 10_000))
def test_direct_scheduled_and_retried_runs_store_the_same(vetted, plan, seed):
    with tempfile.TemporaryDirectory(prefix="poison-guard-laws-") as folder:
        twins = Twins(vetted, Path(folder))
        for number, (verb, how) in enumerate(plan):
            match verb:
                case "run":
                    frame = answers(how["n"], seed if how["repeats_ids"] else seed + number)
                    overtaker = answers(40, seed + 500 + number)
                    wider = overtaker.assign(extra="x") if how["overtaker_is_wider"] else overtaker
                    twins.run(f"{number}.csv", frame, wider, how)
                case "partition_rows":
                    twins.partition_rows(how)
                case _:
                    twins.review(verb)
