"""A model of parts through the guard: trained by cohort, stored, asked, and told what liars cannot change."""

from __future__ import annotations

from pathlib import Path

import pytest

from poison_guard.errors import UsageError
from poison_guard.guard import Guard
from poison_guard.steps import promote
from poison_guard.steps.model_scan import trusted_model
from poison_guard.steps.opening import open_feed
from tests.integration.steps.test_gate import CONTRACT, put, sessions


def test_parts_are_trained_by_cohort_and_their_model_answers_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "pages.toml"
    file.write_text(CONTRACT.replace("epochs = 4\n", "parts = 5\n"))
    guard = Guard.open(file, home=tmp_path / "home")
    guard.trust(sessions(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    put(guard.home, sessions(300, 1), "one.csv")
    guard.ingest()
    guard.seal()
    result = guard.retrain(measure_only=True)
    told = result.metrics["cohorts"]
    assert told["parts"] == 5
    assert 0 < told["certified"]["1"] <= told["right"] <= told["n"]
    assert {"trusted examples alone", "whatever 1 of the cohorts wrote"} <= {row[0] for row in result.rows()}
    with open_feed(file, guard.home) as feed:
        alone = trusted_model(feed)  # what a promotion compares with
        assert alone.config.parts == 5
        assert promote._evaluated(feed, alone)["robust"]["n"]
    fresh = sessions(60, 7)
    said = {
        how: guard.predict(fresh, model_id=result.model_id, confidence=how).frame for how in ("full", "rounded", "none")
    }
    assert (said["full"]["label"] == fresh["kind"]).mean() > 0.8
    assert said["none"]["probability"].isna().all()
    assert said["rounded"]["probability"].round(1).tolist() == said["rounded"]["probability"].tolist()
    assert said["rounded"]["label"].tolist() == said["full"]["label"].tolist()
    with pytest.raises(UsageError, match="confidences are given as full, rounded, none"):
        guard.predict(fresh, model_id=result.model_id, confidence="some")
