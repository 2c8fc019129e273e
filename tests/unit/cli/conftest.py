"""A person at the command line whose guard is a double."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from poison_guard.cli import cli
from poison_guard.guard import Guard

CONTRACT = """
name = "sessions"
kind = "telemetry"
[data]
path = "inbox/*.csv"
[columns]
record_id = "session_id"
source_id = "user_id"
features = ["dwell_ms"]
"""


@pytest.fixture
def hand(tmp_path, monkeypatch):
    """Return a person whose guard answers `hand.result`, or raises it, and notes in `hand.asked` how it was asked."""
    file = tmp_path / "sessions.toml"
    file.write_text(CONTRACT)
    asked: list[tuple[str, dict]] = []

    def answer(name):
        def call(self, **given):
            asked.append((name, given))
            if isinstance(hand.result, Exception):
                raise hand.result
            return hand.result

        return call

    for name in ("seal", "gate", "approve", "retrain", "rollback", "candidate_inputs"):
        monkeypatch.setattr(Guard, name, answer(name), raising=False)

    def call(*arguments):
        given = [*map(str, arguments), "--feed", str(file), "--home", str(tmp_path / "home")]
        return CliRunner().invoke(cli, given)

    hand = SimpleNamespace(call=call, asked=asked, result=None, folder=tmp_path)
    return hand
