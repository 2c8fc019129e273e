"""Two homes, a lost store, a wrong clock, a folder open to others: a clear sentence, and nothing half-done."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
from pathlib import Path

import pytest

from poison_guard.errors import ClosedError, TamperError
from poison_guard.steps.gate import admit, approve, gate
from poison_guard.steps.opening import open_feed
from poison_guard.steps.outbox import renew_revocations
from tests.integration.cli.conftest import CONTRACT, Hand, prepare
from tests.integration.cli.test_from_seal_to_recall import labelled

WHO = ("--by", "ann", "--reason", "vetted")


def sentence(result, code: int, *parts: str) -> None:
    """Check that a command failed with one sentence that holds `parts`."""
    assert result.exit_code == code, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("poison-guard: "), result.stderr
    for part in parts:
        assert part in last


def files_of(home: Path) -> dict[str, bytes]:
    """Return all files of a home but SQLite's journal."""
    found = (file for file in home.rglob("*") if file.is_file() and "-wal" not in file.name and "-shm" not in file.name)
    return {str(file.relative_to(home)): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def admitted(tmp_path_factory) -> Hand:
    """A feed that was run, sealed and admitted."""
    folder = tmp_path_factory.mktemp("admitted")
    os.umask(0o022)
    hand = prepare(folder)
    (folder / "feeds" / "sessions.toml").write_text(CONTRACT.replace("features =", 'label = "kind"\nfeatures ='))
    shutil.rmtree(folder / "home")
    labelled(900, seed=1, name="vetted").to_csv(folder / "vetted.csv", index=False)
    labelled(500, seed=2, name="day1").to_csv(folder / "day1.csv", index=False)
    steps = (("trust", folder / "vetted.csv", *WHO), ("run", folder / "day1.csv"), ("seal",), ("gate", "check"))
    for step in steps:
        assert hand(*step, "--feed", hand.feed).exit_code == 0
    return hand


@pytest.fixture
def copied(admitted, tmp_path) -> Hand:
    """The same in a folder that a test may change."""
    shutil.copytree(admitted.folder, tmp_path / "all")
    return Hand(tmp_path / "all")


def manifest_of(hand: Hand) -> Path:
    """Return the manifest of the home's one admission."""
    (manifest,) = (hand.folder / "home" / "manifests").iterdir()
    return manifest


def test_a_home_and_all_that_is_in_it_is_for_its_user_alone(admitted):
    home = admitted.folder / "home"
    public = {home / "revocations.json", home / "signing.pub"}
    wide = {file for file in (home, *home.rglob("*")) if stat.S_IMODE(file.stat().st_mode) & 0o077}
    assert wide == public
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "store.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["decisions.parquet", "decisions.csv", "decisions.jsonl"])
def test_what_is_written_for_the_user_is_for_the_user_alone(copied, name):
    out = copied.folder / "out" / name
    copied("scan", copied.folder / "day1.csv", "--out", out, "--feed", copied.feed)
    copied("report", "--feed", copied.feed, "--out", copied.folder / "out" / "report.html")
    assert {stat.S_IMODE(file.stat().st_mode) for file in out.parent.iterdir()} == {0o600}
    assert len(list(out.parent.iterdir())) == 2
    assert stat.S_IMODE(out.parent.stat().st_mode) == 0o700


def test_the_doctor_says_where_others_may_read_and_how_to_mend_it(copied):
    home = copied.folder / "home"
    assert {check["name"]: check["state"] for check in copied.json("doctor")["checks"]}["privacy"] == "ok"
    home.chmod(0o755)
    (found,) = (check for check in copied.json("doctor")["checks"] if check["name"] == "privacy")
    assert found["state"] == "warning"
    assert f"`chmod -R go= {home}`" in found["message"]


@pytest.mark.parametrize("gone", [("store.db",), ("store.db", "key.head"), ("store.db", "key.head", "lake")])
@pytest.mark.parametrize(
    "command", [("run",), ("scan",), ("status",), ("seal",), ("review", "list"), ("gate", "check")]
)
def test_a_home_that_has_lost_its_store_is_refused_and_left_as_it_is(copied, command, gone):
    home = copied.folder / "home"
    for name in gone:
        shutil.rmtree(home / name) if (home / name).is_dir() else (home / name).unlink()
    for journal in home.glob("store.db-*"):
        journal.unlink()
    before = files_of(home)
    feed = () if command == ("status",) else ("--feed", copied.feed)
    result = copied(*command, *feed)
    assert result.exit_code in (1, 4)
    sentence(result, result.exit_code, "bring the database back")
    assert files_of(home) == before
    told = {check["name"]: check["message"] for check in copied.json("doctor")["checks"]}
    assert "bring the database back" in told["store"]


def test_a_first_command_that_was_killed_after_the_key_is_run_again(fresh):
    assert fresh("run", "--feed", fresh.feed, "--dry-run").exit_code in (0, 1, 3)
    home = fresh.folder / "home"
    (home / "key").write_text("ab" * 32)
    (home / "key").chmod(0o600)
    (home / "store.db").touch()
    (home / "lake").mkdir()
    assert fresh("run", "--feed", fresh.feed).exit_code == 0


def test_a_lake_of_another_home_is_refused_before_anything_is_made(copied, monkeypatch):
    home = copied.folder / "home"
    monkeypatch.setenv("POISON_GUARD_LAKE", str(home / "lake"))
    before = files_of(home)
    sentence(
        copied("run", copied.folder / "day1.csv", "--feed", copied.feed, home="second"), 4, "the lake", "another lake"
    )
    assert not (copied.folder / "second" / "store.db").exists()
    assert files_of(home) == before


def test_two_homes_that_come_to_share_a_lake_are_refused(copied, monkeypatch):
    assert copied("run", copied.folder / "day1.csv", "--feed", copied.feed, home="second").exit_code == 0
    monkeypatch.setenv("POISON_GUARD_LAKE", str(copied.folder / "home" / "lake"))
    before = files_of(copied.folder / "second")
    result = copied("run", copied.folder / "vetted.csv", "--feed", copied.feed, home="second")
    sentence(result, 4, "belongs to another store", "a lake of its own")
    assert files_of(copied.folder / "second") == before


@pytest.mark.parametrize("written", [0, 16, 32])
def test_a_lake_whose_claim_was_torn_by_a_kill_is_claimed_again(copied, written):
    owner = copied.folder / "home" / "lake" / "STORE"
    name = owner.read_text()
    owner.write_text(name[:written])
    assert copied("seal", "--feed", copied.feed).exit_code == 0
    assert owner.read_text() == name


def test_a_manifest_and_a_revocation_list_of_two_homes_do_not_fit(copied):
    assert copied("run", copied.folder / "day1.csv", "--feed", copied.feed, home="second").exit_code == 0
    second = copied.folder / "second"
    with open_feed(copied.feed, second) as feed:
        renew_revocations(feed.store, feed.settings, dt.datetime.now(dt.UTC))
    manifest = manifest_of(copied)
    assert copied("verify", manifest).exit_code == 0
    sentence(copied("verify", manifest, "--revocations", second / "revocations.json"), 1, "not by")
    sentence(copied("verify", manifest, home="second"), 1, "not by")


def test_a_manifest_of_another_home_under_the_same_signing_key_is_refused_where_the_store_can_be_asked(copied):
    assert copied("run", copied.folder / "day1.csv", "--feed", copied.feed, home="second").exit_code == 0
    second = copied.folder / "second"
    shutil.copy2(copied.folder / "home" / "signing.key", second / "signing.key")
    with open_feed(copied.feed, second) as feed:
        renew_revocations(feed.store, feed.settings, dt.datetime.now(dt.UTC))
    result = copied("verify", manifest_of(copied), "--data", copied.folder / "home" / "lake", home="second")
    assert result.exit_code == 1
    result = copied("verify", manifest_of(copied), "--no-data", home="second")
    sentence(result, 1, "knows no snapshot", "--home")


@pytest.mark.parametrize(("days", "why"), [(20, "set the clock right"), (365, "must approve")])
def test_what_a_clock_ahead_signed_is_closed_and_judging_again_opens_it(copied, days, why):
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    with open_feed(copied.feed, copied.folder / "home", writes=True) as feed:
        manifest_of(copied).unlink()
        if not gate(feed, None, ahead).admitted:  # a year on, the trusted set is old
            assert approve(feed, None, by="ann", reason="known", expires=None, now=ahead).admitted
        renew_revocations(feed.store, feed.settings, ahead)
    sentence(copied("verify", manifest_of(copied)), 1, "in the future", "check both clocks")
    with (
        open_feed(copied.feed, copied.folder / "home", writes=True) as feed,
        pytest.raises(ClosedError, match=why),
    ):
        admit(feed, None, dt.datetime.now(dt.UTC))
    assert copied("gate", "check", "--feed", copied.feed).exit_code == 0
    assert copied("verify", manifest_of(copied)).exit_code == 0


def test_a_key_without_its_mark_is_told_by_the_audit_and_the_doctor(copied):
    assert copied.json("audit", "verify")["note"] == ""
    (copied.folder / "home" / "key.head").unlink()
    result = copied("audit", "verify")
    assert result.exit_code == 0
    assert "key.head is missing, so an older copy of the store shows only by a head kept elsewhere" in result.output
    told = {check["name"]: check for check in copied.json("doctor")["checks"]}["key"]
    assert told["state"] == "warning"
    assert "key.head" in told["message"]


def test_what_killed_commands_left_is_named_by_the_doctor_and_swept(copied):
    home = copied.folder / "home"
    snapshot, before = manifest_of(copied).stem, set(files_of(home))
    models = f"models/sessions/{snapshot}"
    left = [".signing-0123abcd.key", "manifests/.m-0123abcd.json", f"{models}/.new-x/model.safetensors"]
    left += [f"{models}/0123/model.safetensors", "training/another", "lake/trusted/lost.parquet"]
    left += ["lake/staging/gone/batch.parquet", "training/young"]
    for name in left:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x" * 1000)
        for path in (home / name, *(home / name).parents[:1]):
            if path != home / left[-1] and path.name != "training":
                os.utime(path, (1e9, 1e9))

    def check(*more: str) -> dict[str, str]:
        return {check["name"]: check for check in copied.json("doctor", *more)["checks"]}["leftovers"]

    told = check()
    assert (told["state"], told["message"].split(" of ")[0]) == ("warning", "7 files")
    assert set(files_of(home)) == before | set(left)
    assert check("--sweep")["message"].startswith("removed 7 files")
    assert set(files_of(home)) == before | {left[-1]}
    assert check() == {"name": "leftovers", "state": "ok", "message": "none"}
    assert copied("audit", "verify").exit_code == 0


def test_an_older_copy_of_the_store_is_not_written_on(copied):
    home = copied.folder / "home"
    old = (home / "store.db").read_bytes()
    labelled(100, seed=4, name="day2").to_csv(copied.folder / "day2.csv", index=False)
    assert copied("run", copied.folder / "day2.csv", "--feed", copied.feed).exit_code == 0
    for journal in home.glob("store.db-*"):
        journal.unlink()
    (home / "store.db").write_bytes(old)
    with open_feed(copied.feed, home) as feed, pytest.raises(TamperError, match="older copy"), feed.store.write():
        pass
    for nothing_new in (("run", copied.folder / "day1.csv"), ("seal",)):
        sentence(copied(*nothing_new, "--feed", copied.feed), 1, "older copy of the database was put back")


def test_a_mark_that_a_killed_command_did_not_write_is_written_by_the_next_one(copied):
    mark = copied.folder / "home" / "key.head"
    before = mark.read_bytes()
    mark.unlink()
    assert copied("run", copied.folder / "day1.csv", "--feed", copied.feed).exit_code == 0
    assert mark.read_bytes() == before
