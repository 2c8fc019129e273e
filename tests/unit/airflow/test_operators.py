from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from poison_guard.errors import ConfigError
from poison_guard.guard import Guard

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

DECISIONS = pd.DataFrame(
    {
        "record_id": ["a", "b", "c"],
        "action": ["accept", "quarantine", "accept"],
        "risk": [0.0, 0.97, 0.1],
        "campaign_id": [None, "c-1", None],
        "reasons": ["", "one of 46 near-identical messages", ""],
    }
)


class Pushed:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what a guard that decides as `DECISIONS` was opened and asked with."""
    calls: list[tuple[Any, ...]] = []

    def open_guard(contract: str, home: str) -> SimpleNamespace:
        if contract == "broken.toml":
            raise ConfigError("unknown key `knd` in broken.toml")
        calls.append((contract, home))
        result = SimpleNamespace(decisions=DECISIONS, statement=lambda: ["could be seen here: copies"])
        return SimpleNamespace(scan=lambda data: calls.append((data,)) or result)

    monkeypatch.setattr(Guard, "open", open_guard)
    return calls


def operator(**kwargs: Any) -> Any:
    from poison_guard.airflow.operators import PoisonScanOperator

    return PoisonScanOperator(task_id="scan", **{"contract": "chat.toml", "home": "h", **kwargs})


def test_it_writes_the_decisions_and_pushes_their_counts_and_path(tmp_path: Path, calls: list[Any]):
    out, ti = tmp_path / "new" / "decisions.parquet", Pushed()
    result = operator(data=["a.csv", "b.csv"], out=str(out)).execute({"ti": ti})
    assert calls == [("chat.toml", "h"), (["a.csv", "b.csv"],)]
    assert result == ti.pushed == {"counts": {"accept": 2, "quarantine": 1}, "decisions": str(out)}
    pd.testing.assert_frame_equal(pd.read_parquet(out), DECISIONS, check_dtype=False)


def test_findings_fail_the_task_for_good_when_asked_but_are_pushed_first(tmp_path: Path, calls: list[Any]):
    from poison_guard.airflow.versions import AirflowFailException

    out, ti = tmp_path / "decisions.parquet", Pushed()
    with pytest.raises(AirflowFailException, match=r"1 of 3 records are held back; .*decisions\.parquet says why"):
        operator(data="a.csv", out=str(out), fail_on_findings=True).execute({"ti": ti})
    assert ti.pushed["counts"] == {"accept": 2, "quarantine": 1}
    assert out.exists()


def test_a_broken_contract_fails_for_good_with_its_sentence(tmp_path: Path, calls: list[Any]):
    from poison_guard.airflow.versions import AirflowFailException

    with pytest.raises(AirflowFailException, match="unknown key `knd`"):
        operator(contract="broken.toml", out=str(tmp_path / "d.parquet")).execute({"ti": Pushed()})


def test_the_paths_are_templated():
    scan = operator(data="inbox/{{ ds }}.csv", out="out/{{ ds }}.parquet", contract="{{ feed }}.toml")
    scan.render_template_fields({"ds": "2026-01-31", "feed": "chat"})
    assert (scan.data, scan.out, scan.contract) == ("inbox/2026-01-31.csv", "out/2026-01-31.parquet", "chat.toml")


def gate_result(**changes: Any) -> SimpleNamespace:
    found = {"feed": "chat", "outcome": "pass", "admitted": True, "snapshot_id": "s-1", "why": ()}
    found |= {"manifest": Path("m/s-1.json")}
    return SimpleNamespace(**{**found, **changes})


@pytest.fixture
def gated(guard: Any) -> Any:
    """Let a test choose what the gate returns; returns the calls."""
    calls: list[Any] = []

    def choose(result: SimpleNamespace) -> list[Any]:
        guard.gate = lambda **kwargs: calls.append((*guard.opened, kwargs)) or result
        return calls

    return choose


def gate(**kwargs: Any) -> Any:
    from poison_guard.airflow.operators import PoisonGateOperator

    return PoisonGateOperator(task_id="gate", **{"contract": "chat.toml", "home": "h", **kwargs})


def test_an_open_gate_hands_on_the_manifest(gated: Any):
    calls, ti = gated(gate_result()), Pushed()
    result = gate(candidate="predictions.parquet").execute({"ti": ti})
    assert calls == [(("chat.toml", "h"), {"candidate": "predictions.parquet", "snapshot_id": None})]
    assert result == ti.pushed == {"outcome": "pass", "snapshot_id": "s-1", "manifest": "m/s-1.json", "why": []}


@pytest.mark.parametrize(
    ("outcome", "skips", "raised"),
    [
        ("fail", False, "AirflowFailException"),
        ("fail", True, "AirflowFailException"),
        ("error", True, "AirflowFailException"),
        ("inconclusive", False, "AirflowFailException"),
        ("inconclusive", True, "AirflowSkipException"),
        ("pass", True, "AirflowFailException"),
    ],
)
def test_a_closed_gate_never_lets_the_next_task_start(gated: Any, outcome: str, skips: bool, raised: str):
    import poison_guard.airflow.versions

    gated(gate_result(outcome=outcome, admitted=False, manifest=None, why=("canary: class 7 lost 31 %",)))
    ti = Pushed()
    with pytest.raises(
        getattr(poison_guard.airflow.versions, raised), match=rf"s-1 \({outcome}\): canary: class 7 lost 31 %"
    ):
        gate(skip_inconclusive=skips).execute({"ti": ti})
    assert (ti.pushed["outcome"], ti.pushed["manifest"]) == (outcome, None)


def test_an_approved_snapshot_is_open_whatever_its_verdict(gated: Any):
    gated(gate_result(outcome="inconclusive"))
    assert gate().execute({"ti": Pushed()})["manifest"] == "m/s-1.json"


def test_airflow_finds_the_provider_and_its_operators():
    from airflow.providers_manager import ProvidersManager

    provider = ProvidersManager().providers["poison-guard"]
    assert provider.data["operators"][0]["python-modules"] == ["poison_guard.airflow.operators"]
    assert provider.data["sensors"][0]["python-modules"] == ["poison_guard.airflow.operators"]


def test_airflows_openlineage_provider_is_told_what_was_read_and_written(tmp_path: Path):
    pytest.importorskip("airflow.providers.openlineage.extractors", reason="the provider is not installed")
    told = operator(data=["s3://b/a.csv", "/d/b.csv"], out="o.parquet").get_openlineage_facets_on_complete(None)
    assert [(part.namespace, part.name) for part in told.inputs[1:]] == [("s3://b", "a.csv"), ("file", "/d/b.csv")]
    assert [part.name for part in told.outputs] == ["o.parquet"]


def test_the_gate_tells_the_provider_of_the_snapshot_it_judged_and_the_manifest_it_signed():
    pytest.importorskip("airflow.providers.openlineage.extractors", reason="the provider is not installed")
    from poison_guard.airflow.operators import PoisonGateOperator

    gate = PoisonGateOperator(task_id="gate", contract="chat.toml", candidate="p.parquet")
    gate._judged = ("chat", "snapshot-1"), "/home/manifests/snapshot-1.json"
    told = gate.get_openlineage_facets_on_complete(None)
    assert told.inputs[-1].name == "chat/snapshots"
    assert told.inputs[-1].facets["version"].datasetVersion == "snapshot-1"
    assert told.outputs[0].name == "/home/manifests/snapshot-1.json"
