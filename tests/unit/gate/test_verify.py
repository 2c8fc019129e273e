"""What an admission is refused for: edits, time, revocation, other keys, other feeds, other data."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from poison_guard.errors import ClosedError, ConfigError, GuardError, TamperError, UsageError
from poison_guard.gate.keys import key_id, signing_key
from poison_guard.gate.revocations import write_revocations
from poison_guard.gate.statement import sign_statement
from poison_guard.gate.verify import main
from tests.unit.gate.admitted import DAY, NOW, SNAPSHOT, approval, make_home


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def test_an_admission_that_holds_is_returned_with_what_to_train_on(home):
    found = home.verify(snapshot_id=SNAPSHOT, feed="chat", only=True)
    assert (found.snapshot_id, found.feed, found.outcome, found.data_checked) == (SNAPSHOT, "chat", "pass", True)
    assert all((home.data / name).is_file() for name in found.subjects)
    assert found.expires == NOW + 7 * DAY
    assert found.key_id == key_id(home.key.public_key())


def test_without_data_the_signature_is_checked_and_the_result_says_that_data_was_not(home):
    next(home.data.rglob("*.parquet")).unlink()
    assert not home.verify(data=None).data_checked


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"chat"', '"chut"'),
        ('"pass"', '"fail"'),
        ("2026-03-11", "2027-03-11"),
        ("abababab", "bababaab"),
        ('"counts":{"rows":2}', '"counts":{"rows":3}'),
        ("c" * 64, "e" * 64),
        ("admission/v1", "admission/v2"),
    ],
)
def test_any_edit_of_the_signed_text_is_refused(home, old, new):
    home.edit_payload(old, new)
    with pytest.raises(TamperError, match="edited after it was signed"):
        home.verify()


def test_every_single_flipped_character_of_the_manifest_is_refused(home):
    whole = home.manifest.read_text()
    for at in range(0, len(whole), 7):
        home.write(whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1 :])
        with pytest.raises(TamperError):
            home.verify()


def test_every_truncation_is_refused(home):
    whole = home.manifest.read_text()
    for length in range(0, len(whole), 53):
        home.write(whole[:length])
        with pytest.raises(TamperError):
            home.verify()


def test_another_key_is_refused_even_under_the_name_of_ours(home, tmp_path):
    other = signing_key(tmp_path / "other", {})
    home.write(sign_statement(home.said, other))
    with pytest.raises(TamperError, match=f"not by {key_id(home.key.public_key())}"):
        home.verify()
    envelope = home.envelope()
    envelope["signatures"][0]["keyid"] = key_id(home.key.public_key())
    home.write(json.dumps(envelope))
    with pytest.raises(TamperError, match="another key"):
        home.verify()


def test_a_private_key_or_no_key_in_place_of_the_public_one_is_a_usage_error(home):
    with pytest.raises(ConfigError, match="private key"):
        home.verify(public_key=home.path / "signing.key")
    with pytest.raises(ConfigError, match="cannot be read"):
        home.verify(public_key=home.path / "nothing")


@pytest.mark.parametrize(
    ("days", "why"),
    [(7, "expired at 2026-03-11"), (400, "expired"), (-1, "issued in the future")],
)
def test_an_admission_holds_only_between_its_times(home, days, why):
    write_revocations(home.revocations, [], home.key, issued=NOW + days * DAY)
    with pytest.raises(ClosedError, match=why):
        home.verify(now=NOW + days * DAY)


def test_a_clock_a_minute_behind_the_signers_is_no_future(home):
    assert home.verify(now=NOW - DAY / (24 * 60))


def test_a_time_without_zone_is_a_usage_error(home):
    with pytest.raises(UsageError, match="zone"):
        home.verify(now=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "said",
    [
        "2026-03-04T12:00:00",
        "2026-03-04",
        "2026-W10-3T12:00:00Z",
        1772625600,
        "٢026-03-04T12:00:00Z",
        "",
        None,
        "2026-02-30T12:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "2026-03-04T12:00:00Z\n",
    ],
)
def test_a_time_that_is_not_exact_is_refused_even_when_signed(home, said):
    for field in ("issued", "expires"):
        before = home.said["predicate"][field]
        home.sign_again(**{field: said})
        with pytest.raises(TamperError, match="not a time with a zone"):
            home.verify()
        home.sign_again(**{field: before})


def test_an_end_before_the_beginning_is_refused(home):
    home.sign_again(expires="2026-03-04T11:59:00Z")
    with pytest.raises(TamperError, match="before it was issued"):
        home.verify()


@pytest.mark.parametrize(
    ("outcome", "approvals", "why"),
    [
        ("inconclusive", [], "named person must approve"),
        ("fail", [approval("ann")], "another person"),
        ("fail", [approval("ann"), approval(" ANN ")], "another person"),
        ("error", [approval("ann"), approval("bob")], "could not be measured"),
        ("great", [], "unknown"),
    ],
)
def test_a_signed_manifest_that_the_rule_does_not_admit_is_closed(home, outcome, approvals, why):
    home.sign_again(verdict={"outcome": outcome}, approvals=approvals)
    with pytest.raises(ClosedError, match=why):
        home.verify()


def test_an_admission_ends_with_the_approval_it_rests_on(home):
    home.sign_again(verdict={"outcome": "fail"}, approvals=[approval("ann"), approval("bob", expires=NOW + 3 * DAY)])
    found = home.verify()
    assert found.expires == NOW + DAY
    assert [each["by"] for each in found.approvals] == ["ann", "bob"]
    write_revocations(home.revocations, [], home.key, issued=NOW + 2 * DAY)
    with pytest.raises(ClosedError, match="another person"):
        home.verify(now=NOW + 2 * DAY)


def test_a_revoked_snapshot_is_closed_by_its_id_and_by_its_manifest(home):
    digest = home.verify().digest
    home.revoke()
    with pytest.raises(ClosedError, match=r"was revoked .*recall: sybils"):
        home.verify()
    home.revocations.unlink()
    home.revoke("chat-9-cdcdcdcd", (digest,))
    with pytest.raises(ClosedError, match="was revoked"):
        home.verify()


def test_another_layout_of_the_manifest_is_the_same_manifest_and_no_way_round_a_revocation(home):
    digest = home.verify().digest
    assert digest == hashlib.sha256(home.manifest.read_bytes()).hexdigest()
    home.write(json.dumps(dict(reversed(home.envelope().items())), indent=2) + "\n")
    assert home.verify().digest == digest
    home.revoke("chat-9-cdcdcdcd", (digest,))
    with pytest.raises(ClosedError, match="was revoked"):
        home.verify()


def test_other_revocations_do_not_close(home):
    home.revoke("chat-9-cdcdcdcd", ("f" * 64,))
    assert home.verify()


@pytest.mark.parametrize("age", [1.01, 30])
def test_a_stale_revocation_list_closes(home, age):
    home.sign_again(expires=(NOW + 90 * DAY).isoformat())
    with pytest.raises(ClosedError, match=r"stale.*fetch a fresh"):
        home.verify(now=NOW + age * DAY)
    with pytest.raises(ClosedError, match="stale"):
        home.verify(now=NOW + age * DAY, max_revocation_age=400 * DAY)


def test_a_caller_may_ask_for_a_fresher_list(home):
    assert home.verify(now=NOW + DAY / 4)
    with pytest.raises(ClosedError, match="stale"):
        home.verify(now=NOW + DAY / 4, max_revocation_age=DAY / 24)


def test_a_list_from_the_future_closes(home):
    write_revocations(home.revocations, [], home.key, issued=NOW + DAY)
    with pytest.raises(ClosedError, match="list was issued in the future"):
        home.verify()


def test_a_missing_list_closes(home):
    with pytest.raises(ClosedError, match="no revocation list was given"):
        home.verify(revocations=None)
    home.revocations.unlink()
    with pytest.raises(ClosedError, match="cannot be read"):
        home.verify()


def test_a_list_that_was_edited_or_that_another_key_signed_closes(home, tmp_path):
    home.revoke()
    whole = home.revocations.read_text()
    at = whole.index('"payload":"') + 40
    home.revocations.write_text(whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1 :])
    with pytest.raises(TamperError, match="the revocation list"):
        home.verify()
    home.revocations.unlink()
    write_revocations(home.revocations, [], signing_key(tmp_path / "other", {}), issued=NOW)
    with pytest.raises(TamperError, match="the revocation list is signed by the key"):
        home.verify()


def test_a_manifest_is_no_revocation_list_and_a_list_no_manifest(home):
    with pytest.raises(TamperError, match="the revocation list has the payload type"):
        home.verify(revocations=home.manifest)
    with pytest.raises(TamperError, match="the manifest has the payload type"):
        home.verify(manifest=home.revocations)


def test_the_manifest_of_another_snapshot_or_feed_is_closed(home):
    with pytest.raises(ClosedError, match="not 'chat-8-00000000'"):
        home.verify(snapshot_id="chat-8-00000000")
    with pytest.raises(ClosedError, match="not 'captcha'"):
        home.verify(feed="captcha")


def test_no_manifest_a_folder_or_a_huge_file_is_closed(home):
    for path, why in ((home.path / "no", "cannot be read"), (home.data, "not a file|cannot be read")):
        with pytest.raises(ClosedError, match=why):
            home.verify(manifest=path)
    with home.manifest.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ClosedError, match="larger than"):
        home.verify()


def test_a_pipe_is_refused_and_not_waited_for(home):
    pipe = home.path / "pipe"
    os.mkfifo(pipe)
    for given in ({"manifest": pipe}, {"revocations": pipe}, {"public_key": pipe}):
        with pytest.raises(GuardError, match="not a"):
            home.verify(**given)


def test_the_verifier_alone_ends_with_0_1_or_2(home, capsys, monkeypatch):
    fresh = make_home(home.path / "inner")
    arguments = [str(fresh.manifest), "--key", str(fresh.public), "--revocations", str(fresh.revocations)]
    whole = [*arguments, "--data", str(fresh.data)]
    monkeypatch.setattr("poison_guard.gate.verify.utc_or_now", lambda _: NOW)
    assert main(whole) == 0
    assert json.loads(capsys.readouterr().out)["snapshot_id"] == SNAPSHOT
    (fresh.data / "more").write_bytes(b"")
    assert main(whole) == 1
    assert "does not name" in capsys.readouterr().err
    fresh.public.unlink()
    assert main(whole) == 2


_BLOCKED = """
import datetime, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "poison_guard", "cryptography", "_cffi_backend"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
import poison_guard.gate.verify as clock
from poison_guard.gate.verify import main
"""


def test_the_verifier_needs_cryptography_and_the_standard_library_alone(home):
    fresh = make_home(home.path / "alone")
    arguments = [str(fresh.manifest), "--key", str(fresh.public), "--revocations", str(fresh.revocations)]
    code = (
        f"{_BLOCKED}\nclock.utc_or_now = lambda _: {NOW!r}\nsys.exit(main({[*arguments, '--data', str(fresh.data)]!r}))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout)["snapshot_id"] == SNAPSHOT
