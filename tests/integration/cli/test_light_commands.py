"""A command imports what it needs: what looks, seals or finds nothing new pays for no heavy library."""

import json
import subprocess
import sys

import pytest

from tests.integration.cli.conftest import CONTRACT, Hand
from tests.integration.cli.test_from_seal_to_recall import labelled

HEAVY = {"airflow", "great_expectations", "torch"}
RULE = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "dwell_ms"}, "severity": "critical"}
COMMANDS = ["run", "seal", "gate show", "models", "status", "sources", "review list"]
CHILD = """
import sys
from poison_guard.__main__ import main
for command in {commands!r}:
    sys.argv[1:] = [*command.split(), "--feed", {feed!r}, "--home", {home!r}]
    try:
        main()
    except SystemExit as end:
        print(command, end.code, *{{name.partition(".")[0] for name in sys.modules}}, sep=",", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """A feed with a suite that was run, sealed and judged."""
    folder = tmp_path_factory.mktemp("light")
    for name in ("feeds", "expectations", "home/inbox"):
        (folder / name).mkdir(parents=True)
    (folder / "feeds" / "sessions.toml").write_text(CONTRACT.replace("features =", 'label = "kind"\nfeatures ='))
    (folder / "expectations" / "sessions.json").write_text(json.dumps({"name": "s", "expectations": [RULE]}))
    labelled(900, seed=1, name="vetted").to_csv(folder / "vetted.csv", index=False)
    labelled(500, seed=2, name="day1").to_csv(folder / "home" / "inbox" / "day1.csv", index=False)
    hand = Hand(folder)
    for command in (
        ("trust", folder / "vetted.csv", "--by", "a", "--reason", "b"),
        ("run",),
        ("seal",),
        ("gate", "check"),
    ):
        assert hand(*command, "--feed", hand.feed).exit_code == 0
    return hand


def test_commands_that_neither_validate_nor_compute_import_nothing_heavy(worked):
    """One process runs them all: what one of them imported is there after those that follow, too."""
    code = CHILD.format(commands=COMMANDS, feed=str(worked.feed), home=str(worked.folder / "home"))
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    ended = [line.split(",") for line in child.stderr.splitlines() if line.split(",")[0] in COMMANDS]
    assert [name for name, *_ in ended] == COMMANDS, child.stderr
    for name, code, *loaded in ended:
        assert code == "0", child.stderr
        assert "click" in loaded
        assert not HEAVY.intersection(loaded), name
