"""Counters of a home for Prometheus, without a store."""

import datetime as dt

import pytest

from poison_guard.errors import NotFoundError, StoreError
from poison_guard.guard import Home
from poison_guard.steps.status import FeedStatus, RunStatus, StatusResult
from poison_guard.web import counters as module
from poison_guard.web.counters import counters, write_counters

NOW = dt.datetime(2026, 2, 3, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def status(monkeypatch):
    """A home with the feeds `a"b` and `gone`, whose contracts are nowhere."""
    totals = {"runs": 2, "received": 30, "accepted": 25, "quarantined": 5, "cpu_s": 12.5, "wall_s": 20.0}
    what = {"open": 0, "oldest": None, "expired": 0, "trusted": {}, "version": 1, "phase": "cold", "vetted_records": 0}
    feeds = tuple(
        FeedStatus(feed=name, places={"accepted": 25}, vetted_records_missing=9, training=None, totals=totals, **what)
        for name in ('a"b', "gone")
    )
    runs = [
        RunStatus(f"r{k}", 'a"b', "committed", 1, NOW, NOW + dt.timedelta(hours=k), {}, {"peak_mb": 100.0 + k})
        for k in (2, 1)
    ]
    monkeypatch.setattr(Home, "status", lambda self, feed=None: StatusResult("home", feeds, tuple(runs)))

    def nowhere(*_how, **_more):
        raise NotFoundError("no contract")

    monkeypatch.setattr(module.Guard, "open", nowhere)


def test_runs_are_counted_and_the_newest_one_is_described(tmp_path):
    lines = counters(tmp_path).decode().splitlines()
    assert 'poison_guard_runs_total{feed="a\\"b"} 2.0' in lines
    assert 'poison_guard_run_records_total{feed="a\\"b",outcome="quarantined"} 5.0' in lines
    assert 'poison_guard_run_cpu_seconds_total{feed="gone"} 12.5' in lines
    (peak,) = [line for line in lines if line.startswith("poison_guard_last_run_peak_bytes{")]
    assert float(peak.split()[-1]) == 102.0 * 2**20
    assert not any(line.startswith("poison_guard_last_run") and "gone" in line for line in lines)


def test_only_the_feeds_that_were_named_are_counted(tmp_path):
    assert "gone" not in counters(tmp_path, ['a"b']).decode()


def test_the_file_for_prometheus_is_written_whole_where_the_settings_name_one(tmp_path):
    assert write_counters(tmp_path) is None
    (tmp_path / "settings.toml").write_text(f'metrics = "{tmp_path / "guard.prom"}"\n')
    assert write_counters(tmp_path) == tmp_path / "guard.prom"
    assert (tmp_path / "guard.prom").read_bytes() == counters(tmp_path)


def test_a_file_for_prometheus_that_cannot_be_written_is_told_of_in_a_sentence(tmp_path):
    (tmp_path / "in_the_way").write_text("")
    (tmp_path / "settings.toml").write_text(f'metrics = "{tmp_path / "in_the_way" / "guard.prom"}"\n')
    with pytest.raises(StoreError, match=r"guard\.prom cannot be written: "):
        write_counters(tmp_path)
