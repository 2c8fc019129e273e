"""`poison-guard verify`: exit codes, what it prints, what it needs."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from click.testing import CliRunner

from poison_guard.cli.gate import verify_command
from poison_guard.cli.root import exit_code_of
from poison_guard.gate.revocations import write_revocations
from tests.unit.gate.admitted import DAY, SNAPSHOT, approval, make_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("POISON_GUARD_LAKE", raising=False)
    now = dt.datetime.now(dt.UTC)
    made = make_home(tmp_path / "home")
    made.sign_again(issued=now.isoformat(), expires=(now + DAY).isoformat())
    write_revocations(made.revocations, [], made.key, issued=now)
    return made


@pytest.fixture
def verify(home, capsys):
    def call(*arguments, manifest=None):
        given = [str(manifest or home.manifest), "--home", str(home.path), *map(str, arguments)]
        code = exit_code_of(lambda: verify_command.main(given, "verify", standalone_mode=False), debug=False)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_a_home_s_own_manifest_is_verified_with_its_key_list_and_lake(verify):
    code, out, err = verify()
    assert (code, err) == (0, "")
    assert out.startswith(f"admitted: {SNAPSHOT}, verdict PASS, until")
    assert "2 files in" in out


def test_json_names_the_files_to_train_on(verify, home):
    code, out, _ = verify("--json", "--snapshot", SNAPSHOT, "--feed", "chat")
    found = json.loads(out)
    assert (code, found["schema_version"], found["admitted"], found["data_checked"]) == (0, 1, True, True)
    assert found["files"] == [str(home.data / name) for name in found["subjects"]]


def test_the_people_who_approved_are_named(verify, home):
    now = dt.datetime.now(dt.UTC)
    given = approval("ann", reason="\x1b[2Jfine", at=now.isoformat(), expires=(now + DAY).isoformat())
    home.sign_again(verdict={"outcome": "inconclusive"}, approvals=[given])
    code, out, _ = verify()
    assert code == 0
    assert "approved by ann: <U+001B>[2Jfine" in out


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--snapshot", "chat-8-0"), 1, "not 'chat-8-0'"),
        (("--feed", "captcha"), 1, "not 'captcha'"),
        (("--revocations", "nothing.json"), 1, "cannot be read"),
        (("--data", "nothing"), 1, "no data folder"),
        (("--key", "nothing.pub"), 2, "cannot be read"),
        (("--data", ".", "--no-data"), 2, "exclude each other"),
        (("--unknown",), 2, "--help"),
    ],
)
def test_what_does_not_hold_ends_with_one_sentence(verify, arguments, code, why):
    ended, out, err = verify(*arguments)
    assert (ended, out) == (code, "")
    assert why in err
    assert len(err.splitlines()) == 1


def test_no_manifest_is_closed(verify, tmp_path):
    code, _, err = verify(manifest=tmp_path / "none.json")
    assert code == 1
    assert "the manifest" in err


def test_a_folder_that_is_named_must_hold_nothing_else_but_the_home_s_lake_may(verify, home, tmp_path):
    copied = tmp_path / "copied"
    (home.data / "snapshots" / "chat" / "older.parquet").write_bytes(b"of another snapshot")
    assert verify()[0] == 0
    assert verify("--data", home.data)[0] == 0
    home.data.rename(copied)
    code, _, err = verify("--data", copied)
    assert code == 1
    assert "older.parquet" in err
    (copied / "snapshots" / "chat" / "older.parquet").unlink()
    assert verify("--data", copied)[0] == 0


def test_without_data_it_asks_for_it_or_says_aloud_that_it_was_not_compared(verify, home, tmp_path):
    home.data.rename(tmp_path / "away")
    code, out, err = verify()
    assert (code, out) == (2, "")
    assert "--no-data" in err
    code, out, _ = verify("--no-data")
    assert code == 0
    assert "NOT compared" in out
    assert json.loads(verify("--no-data", "--json")[1])["data_checked"] is False


def test_help_says_what_is_needed():
    result = CliRunner().invoke(verify_command, ["--help"])
    assert result.exit_code == 0
    assert all(option in result.output for option in ("--key", "--revocations", "--data", "--home", "--json"))


def test_a_feed_may_be_named_by_its_contract(verify, tmp_path):
    contract = tmp_path / "chat.toml"
    contract.write_text('name = "chat"\nkind = "messages"\n[data]\npath = "x.csv"\n[columns]\ntext = "text"\n')
    assert verify("--feed", contract)[0] == 0
    contract.write_text(contract.read_text().replace('"chat"', '"other"'))
    assert verify("--feed", contract)[0] == 1
