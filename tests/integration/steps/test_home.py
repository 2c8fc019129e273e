"""`Home`, export, report, tune and propose through the door: typed results that print, and are JSON."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard import Guard, Home, propose
from poison_guard.config import open_settings
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.results import Result
from poison_guard.store import open_store
from tests.integration.cli.conftest import CONTRACT as SESSIONS
from tests.integration.cli.test_from_seal_to_recall import labelled

CONTRACT = SESSIONS.replace("features =", 'label = "kind"\nfeatures =')


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """A home whose feed `sessions` has a trusted set, one run and a snapshot; its contract lies in the home."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("feeds", "inbox"):
        (folder / name).mkdir()
    (folder / "feeds" / "sessions.toml").write_text(CONTRACT)
    guard = Guard.open("sessions", home=folder)
    guard.trust(labelled(900, seed=1, name="vetted"), by="ann", reason="audit")
    labelled(500, seed=2, name="day1").to_csv(folder / "inbox" / "day1.csv", index=False)
    guard.ingest()
    guard.seal()
    return Home.open(folder)


@pytest.fixture(scope="module")
def guard(home) -> Guard:
    return Guard.open("sessions", home=home.home)


@pytest.fixture(scope="module")
def results(home: Home, guard: Guard) -> list[Result]:
    """Return what each verb of this file gives; nothing is changed by any of them."""
    data = home.home / "inbox" / "day1.csv"
    return [
        home.feeds(),
        home.status(),
        home.doctor(),
        home.audit(),
        home.report(),
        guard.report(),
        guard.export(),
        guard.tune(rates=[0.01], alphas=[]),
        propose(data, dry_run=True, home=home.home),
    ]


def test_every_result_is_json_readable_text_and_escaped_html(results):
    for result in results:
        document = result.to_dict()
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert str(result).strip()
        assert "object at 0x" not in str(result)
        assert isinstance(result._repr_html_(), str)


def test_results_cannot_be_changed(results):
    for result in results:
        name = next(iter(type(result).__dataclass_fields__))
        with pytest.raises(AttributeError):
            setattr(result, name, None)


def test_status_shows_the_places_the_phase_and_the_snapshot_of_the_feed(home):
    (feed,) = home.status("sessions").feeds
    assert sum(feed.places.values()) == 500
    assert feed.phase == "enforcing"
    assert feed.vetted_records == 900
    assert feed.training is not None
    assert (feed.training.admission, feed.training.outcome) == ("not admitted", None)
    assert home.feeds().feeds == ("sessions",)
    assert "sessions" in str(home.status())


def test_status_by_contract_and_by_name_are_the_same(home):
    by_name, by_file = home.status("sessions"), home.status(home.home / "feeds" / "sessions.toml")
    assert by_name.to_dict()["runs"] == by_file.to_dict()["runs"]
    assert [feed.feed for feed in by_file.feeds] == ["sessions"]


def test_a_home_without_a_store_is_refused_and_stays_as_it_is(tmp_path):
    for verb in (Home.open(tmp_path / "typo").status, Home.open(tmp_path / "typo").audit):
        with pytest.raises(NotFoundError, match="there is no store in"):
            verb()
    assert not (tmp_path / "typo").exists()


def test_an_audit_names_the_event_that_was_changed(guard, tmp_path):
    file = tmp_path / "other" / "feeds" / "sessions.toml"
    file.parent.mkdir(parents=True)
    file.write_text(CONTRACT)
    other = Guard.open(file, home=tmp_path / "other")
    other.trust(labelled(40, seed=1, name="vetted"), by="ann", reason="audit")
    assert Home.open(tmp_path / "other").audit().ok
    with open_store(open_settings(tmp_path / "other")) as store, store.engine.begin() as conn:
        conn.execute(sa.text("update events set actor = 'mallory' where seq = 1"))
    result = Home.open(tmp_path / "other").audit()
    assert (result.ok, result.first_bad) == (False, 1)
    assert "the audit chain is broken: event 1 was changed" in str(result)


def test_export_gives_the_accepted_payloads_and_writes_what_it_gives(guard, tmp_path):
    accepted = guard.report().counts["accepted"]
    result = guard.export(tmp_path / "out.parquet")
    assert len(result.frame) == accepted == result.to_dict()["records"]
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert list(written.columns) == list(result.frame.columns)
    assert "record_id" not in written.columns, "rows are under their own names"
    decisions = guard.export(places=["quarantined", "accepted"], decisions=True)
    assert set(decisions.frame["place"]) <= {"quarantined", "accepted"}
    assert decisions.file is None


def test_export_refuses_a_place_that_is_none_and_an_ending_that_says_no_format(guard, tmp_path):
    with pytest.raises(UsageError, match="there is no place 'heaven'; there are staged, accepted"):
        guard.export(places=["heaven"])
    with pytest.raises(UsageError, match="must end in"):
        guard.export(tmp_path / "out.xlsx")
    assert not list(tmp_path.iterdir())


def test_the_report_of_a_run_has_its_sentences_and_the_state_of_the_gate(guard, home):
    report = guard.report()
    assert report.run["feed"] == "sessions"
    assert report.gate["snapshot"]["snapshot_id"].startswith("sessions-")
    assert sum(sum(bins) for bins in report.risk.values()) == 500
    assert all(example["sentence"] for reason in report.reasons for example in reason["examples"])
    assert home.report(report.run_id).to_dict() == report.to_dict()
    with pytest.raises(NotFoundError):
        guard.report("nope")


def test_tuning_says_what_is_out_of_range(guard):
    with pytest.raises(UsageError, match=r"rates takes numbers in \(0, 0.5\], got 0.7"):
        guard.tune(rates=[0.7])
    with pytest.raises(UsageError, match="alphas takes at most 20 numbers, got 21"):
        guard.tune(alphas=[0.01] * 21)


def test_tuning_tells_drift_and_lines_as_values(guard):
    result = guard.tune(rates=[0.02], alphas=[])
    assert [line.present for line in result.lines] == [True, False]
    assert set(result.watch) == {"holdout"}
    assert not result.watch["holdout"].parted
    assert result.to_dict()["watch"]["holdout"]["auc"] == result.watch["holdout"].figures["auc"]
    assert any(remark.startswith("honest: ") for remark in result.remarks())


def test_a_proposal_is_written_once_and_passes_its_own_file(tmp_path, home):
    data = home.home / "inbox" / "day1.csv"
    result = propose(data, name="again", out=tmp_path, home=home.home)
    assert result.rows_failing == 0
    assert {"validation", "anomaly"} <= set(result.signals)
    assert (tmp_path / "feeds" / "again.toml").read_text() == result.toml
    with pytest.raises(UsageError, match="exists already"):
        propose(data, name="again", out=tmp_path, home=home.home)
    assert propose(data, name="again", out=tmp_path, home=home.home, force=True).toml == result.toml


@pytest.mark.parametrize("ask", ["status", "report", "explain"])
def test_a_feed_that_neither_store_nor_folder_knows_is_refused_with_the_nearest_name(home, ask):
    arguments = ("s-1",) if ask == "explain" else ()
    with pytest.raises(NotFoundError, match=r"holds no feed 'session'; did you mean `sessions`\?"):
        getattr(home, ask)(*arguments, feed="session")


READING = ("suspects", "seal", "gate", "gate_status", "candidate_inputs", "retrain", "models", "tune", "queue")


@pytest.mark.parametrize("verb", READING)
def test_a_verb_on_a_home_without_a_store_says_so_and_makes_none(home, tmp_path, verb):
    contract = home.home / "feeds" / "sessions.toml"
    with pytest.raises(NotFoundError, match="there is no store in"):
        getattr(Guard.open(contract, home=tmp_path / "typo"), verb)()
    assert not (tmp_path / "typo" / "store.db").exists()


def test_a_run_of_another_feed_is_not_reported_as_ones_own(home, tmp_path):
    (tmp_path / "visits.toml").write_text(CONTRACT.replace('"sessions"', '"visits"'))
    visits = Guard.open(tmp_path / "visits.toml", home=home.home)
    with pytest.raises(NotFoundError, match="is of the feed sessions, not of visits"):
        visits.report(home.report().run_id)


def test_a_manifest_that_a_killed_writer_left_half_written_beside_the_others_is_no_manifest(guard):
    guard.ingest()
    folder = guard.home / "manifests"
    folder.mkdir(exist_ok=True)
    (folder / ".quiz-1-abc.json").write_text('{"payload": "eyJ')
    assert Home.open(guard.home).audit().ok
    (folder / "quiz-1.json").write_text('{"payload": "eyJ')
    assert Home.open(guard.home).audit().table == "manifest"
