"""Secrets of URLs are shown nowhere: not by a command, in JSON, in an error, or in what is stored."""

from __future__ import annotations

import fsspec
import pytest

from tests.integration.cli.conftest import sessions

STORE = "postgresql://guardian:hushhush1@127.0.0.1:9/guard?password=hushhush2&sslmode=disable#hushhush3"
LAKE = "memory://hushhush4:hushhush5@lake/guard?sig=hushhush6"
DATA = "memory://inbox/day.csv?sig=hushhush7"
SECRETS = ("guardian", *(f"hushhush{n}" for n in range(1, 8)))


def shows_none(result) -> None:
    """Fail where the output of a command holds a secret."""
    assert [secret for secret in SECRETS if secret in result.output + result.stderr] == []


@pytest.mark.parametrize("more", [(), ("--json",), ("--debug",)])
@pytest.mark.parametrize("command", [("status",), ("doctor",), ("audit", "verify"), ("run",), ("sources",), ("seal",)])
def test_no_command_shows_a_secret_of_a_store_that_cannot_be_reached(fresh, monkeypatch, command, more):
    monkeypatch.setenv("POISON_GUARD_STORE", STORE)
    monkeypatch.setenv("POISON_GUARD_LAKE", LAKE)
    feed = () if command[0] in ("status", "doctor", "audit") else ("--feed", fresh.feed)
    result = fresh(*command, *feed, *more)
    assert result.exit_code in (1, 4)
    assert "127.0.0.1:9/guard" in result.output + result.stderr
    shows_none(result)


@pytest.fixture
def served():
    """Serve a batch at a signed URL."""
    with fsspec.open(DATA, "wt") as file:
        sessions(40, seed=3, name="day").to_csv(file, index=False)
    yield
    fsspec.filesystem("memory").rm("/inbox", recursive=True)


@pytest.mark.usefixtures("served")
def test_a_signed_url_of_data_is_read_and_neither_shown_nor_stored(fresh):
    for arguments in (
        ("scan", DATA),
        ("run", DATA),
        ("run", DATA, "--json"),
        ("report", "--json"),
        ("status", "--json"),
    ):
        shows_none(fresh(*arguments, "--feed", fresh.feed))
    home = fresh.folder / "home"
    stored = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert [file for file, body in stored.items() if b"hushhush" in body] == []
    record = fresh.json("review", "list", "--sample", "1", "--feed", fresh.feed)["entries"][0]["record_id"]
    shown = fresh("explain", record, "--json", "--feed", fresh.feed)
    assert shown.exit_code == 0
    shows_none(shown)


@pytest.mark.parametrize("more", [(), ("--debug",)])
@pytest.mark.parametrize(
    "url", [f"{DATA}&no", "http://hushhush1@127.0.0.1:9/x.csv?sig=hushhush7", "nosuch://h/?a=hushhush7"]
)
def test_the_error_about_a_url_of_data_shows_no_secret(fresh, url, more):
    result = fresh("scan", url, "--feed", fresh.feed, *more)
    assert result.exit_code == 2
    shows_none(result)
