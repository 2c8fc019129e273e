"""What scan and ingest return is JSON for any program, not only for the command line."""

from __future__ import annotations

import json

import pandas as pd

from poison_guard.frames import empty_frame
from poison_guard.steps.results import ScanResult


def test_a_result_with_a_campaign_is_json():
    at = pd.Timestamp("2026-11-14 10:00", tz="UTC")
    row = {"campaign_id": "c-1", "kind": "raid", "p": 1e-9, "strength": float("nan"), "n_records": 3, "n_sources": 2}
    campaigns = pd.DataFrame([{**row, "first_at": at, "last_at": pd.NaT, "why": "they agree"}])
    frames = {name: empty_frame(name) for name in ("decisions", "items", "sources", "evidence")}
    document = ScanResult(**frames, campaigns=campaigns, notes=(), counts={}).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False))["campaigns"] == [
        {**row, "strength": None, "first_at": "2026-11-14T10:00:00+00:00", "last_at": None, "why": "they agree"}
    ]
