"""`poison-guard review trusted`: the strangest trusted records are asked for, and what people say of them is kept."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from poison_guard.cli.trust import trusted_command
from poison_guard.config import open_settings
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.store import open_store
from poison_guard.store.trusted import trusted_verdicts

FORGED = 12


@pytest.fixture
def call(fresh):
    """Call the command on a feed whose 900 vetted sessions hold 12 that somebody forged."""
    vetted = pd.read_csv(fresh.folder / "vetted.csv")
    vetted.loc[: FORGED - 1, "pointer_speed"] = 20.0 * 1.5 ** vetted.index[:FORGED]  # none near another
    vetted.to_csv(fresh.folder / "vetted.csv", index=False)
    done = fresh("trust", fresh.folder / "vetted.csv", "--feed", fresh.feed, "--by", "ann", "--reason", "audit")
    assert done.exit_code == 0, done.stderr

    def call(*words: str):
        given = [*words, "--feed", str(fresh.feed), "--home", str(fresh.folder / "home"), "--json"]
        result = CliRunner().invoke(trusted_command, given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout)

    call.hand = fresh
    return call


def wrong_ones(hand) -> set[str]:
    with open_store(open_settings(hand.folder / "home")) as store, store.read() as conn:
        return {name for name, verdict in trusted_verdicts(conn, "sessions").items() if verdict < 0}


def test_the_strangest_are_asked_for_first_and_not_again_when_they_were_judged(call):
    listed = call("--limit", "30")["suspects"]
    forged = {f"vetted-{k:04d}" for k in range(FORGED)}
    named = [row["record_id"] for row in listed]
    in_splits = [name for name in named if name in forged]
    assert len(in_splits) >= 5  # a fifth of them is holdout, which is not asked for
    assert len(set(in_splits) & set(named[: 2 * len(in_splits)])) >= 0.7 * len(in_splits)
    assert "beyond every trusted record" in listed[0]["why"] or "unusual" in listed[0]["why"]
    assert [row["p"] for row in listed] == sorted(row["p"] for row in listed)
    event = call(*in_splits, "--wrong", "--by", "ann", "--reason", "bots")["event"]
    call(named[-1], "--right", "--by", "ann", "--reason", "a fast typist")
    again = [row["record_id"] for row in call("--limit", "30")["suspects"]]
    assert not set(again) & {*in_splits, named[-1]}
    assert wrong_ones(call.hand) == set(in_splits)
    undone = call.hand("review", "undo", str(event), "--feed", call.hand.feed, "--by", "ann", "--reason", "not all")
    assert undone.exit_code == 0, undone.stderr
    assert wrong_ones(call.hand) == set()
    assert call.hand("audit", "verify").exit_code == 0


def test_the_last_word_counts_and_a_dry_run_says_nothing(call):
    one = ("vetted-0100", "--by", "ann", "--reason", "x")
    assert call(*one, "--wrong", "--dry-run")["event"] is None
    with pytest.raises(NotFoundError, match="nobody"):
        call("nobody", *one[1:], "--wrong", "--dry-run")
    assert wrong_ones(call.hand) == set()
    call(*one, "--wrong")
    assert wrong_ones(call.hand) == {"vetted-0100"}
    call(*one, "--right")
    assert wrong_ones(call.hand) == set()


def test_what_was_never_trusted_or_is_not_said_in_a_name_changes_nothing(call):
    with pytest.raises(NotFoundError, match="'nobody'"):
        call("nobody", "vetted-0100", "--wrong", "--by", "ann", "--reason", "x")
    with pytest.raises(UsageError, match="name of who"):
        call("vetted-0100", "--wrong", "--reason", "x")
    for words in (("vetted-0100",), ("--wrong",), ("vetted-0100", "--wrong", "--right")):
        with pytest.raises(UsageError, match="either --wrong or --right"):
            call(*words)
    assert wrong_ones(call.hand) == set()


def test_without_features_there_is_nothing_to_rank(call):
    text = call.hand.feed.read_text().replace('features = ["dwell_ms", "pointer_speed"]', 'text = "dwell_ms"')
    call.hand.feed.write_text(text)
    with pytest.raises(UsageError, match="no trusted records with features"):
        call()
