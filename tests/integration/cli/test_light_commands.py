"""A command imports what it needs: what looks, seals or finds nothing new pays for no heavy library."""

import json
import subprocess
import sys

import pytest

from tests.integration.cli.conftest import CONTRACT, Hand
from tests.integration.cli.test_from_seal_to_recall import labelled

HEAVY = {"airflow", "great_expectations", "torch"}
RULE = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "dwell_ms"}, "severity": "critical"}
REPORT = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"


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


@pytest.mark.parametrize(
    "command", [("run",), ("seal",), ("gate", "show"), ("models",), ("status",), ("sources",), ("review", "list")]
)
def test_a_command_that_neither_validates_nor_computes_imports_nothing_heavy(worked, command):
    arguments = [*command, "--feed", str(worked.feed), "--home", str(worked.folder / "home")]
    code = f"import atexit, sys; sys.argv[1:] = {arguments!r}\n@atexit.register\ndef report():\n    {REPORT}\n"
    child = subprocess.run(
        [sys.executable, "-c", f"{code}from poison_guard.__main__ import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(child.stderr.splitlines()[-1].split())
    assert "click" in loaded, child.stderr
    assert not loaded & HEAVY
