from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import poison_guard
from poison_guard.errors import ConfigError

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow"), pytest.mark.filterwarnings("ignore")]

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
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def open_guard(contract: str, home: str) -> SimpleNamespace:
        if contract == "broken.toml":
            raise ConfigError("unknown key `knd` in broken.toml")
        calls.append((contract, home))
        return SimpleNamespace(scan=lambda data: calls.append((data,)) or SimpleNamespace(decisions=DECISIONS))

    monkeypatch.setattr(poison_guard, "Guard", SimpleNamespace(open=open_guard), raising=False)
    return calls


def operator(**kwargs: Any) -> Any:
    from poison_guard.airflow.operators import PoisonScanOperator

    return PoisonScanOperator(task_id="scan", **{"contract": "chat.toml", "home": "h", **kwargs})


def test_it_writes_the_decisions_and_pushes_their_counts_and_path(tmp_path: Path, opened: list[Any]):
    out, ti = tmp_path / "new" / "decisions.parquet", Pushed()
    result = operator(data=["a.csv", "b.csv"], out=str(out)).execute({"ti": ti})
    assert opened == [("chat.toml", "h"), (["a.csv", "b.csv"],)]
    assert result == ti.pushed == {"counts": {"accept": 2, "quarantine": 1}, "decisions": str(out)}
    pd.testing.assert_frame_equal(pd.read_parquet(out), DECISIONS, check_dtype=False)


def test_findings_fail_the_task_for_good_when_asked_but_are_pushed_first(tmp_path: Path, opened: list[Any]):
    from airflow.sdk.exceptions import AirflowFailException

    out, ti = tmp_path / "decisions.parquet", Pushed()
    with pytest.raises(AirflowFailException, match=r"1 of 3 records are held back; .*decisions\.parquet says why"):
        operator(data="a.csv", out=str(out), fail_on_findings=True).execute({"ti": ti})
    assert ti.pushed["counts"] == {"accept": 2, "quarantine": 1}
    assert out.exists()


def test_a_broken_contract_fails_for_good_with_its_sentence(tmp_path: Path, opened: list[Any]):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="unknown key `knd`"):
        operator(contract="broken.toml", out=str(tmp_path / "d.parquet")).execute({"ti": Pushed()})


def test_the_paths_are_templated():
    scan = operator(data="inbox/{{ ds }}.csv", out="out/{{ ds }}.parquet", contract="{{ feed }}.toml")
    scan.render_template_fields({"ds": "2026-01-31", "feed": "chat"})
    assert (scan.data, scan.out, scan.contract) == ("inbox/2026-01-31.csv", "out/2026-01-31.parquet", "chat.toml")


def test_airflow_finds_the_provider_and_its_operator():
    from airflow.providers_manager import ProvidersManager

    provider = ProvidersManager().providers["poison-guard"]
    assert provider.data["operators"][0]["python-modules"] == ["poison_guard.airflow.operators"]
