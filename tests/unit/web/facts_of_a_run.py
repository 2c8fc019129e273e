"""Facts of an invented run, as the store hands them to the report: enough of everything to fill the page."""

from __future__ import annotations

import datetime as dt
import math
import random
from typing import Any

from poison_guard.decide.reasons import sentence

HOSTILE = '"><script>alert(1)</script>\u202etxt.exe\u200b\x1b[31m{{7*7}}'
_START = dt.datetime(2026, 11, 14, 9, 0, tzinfo=dt.UTC)


def make_facts(seed: int = 3) -> dict[str, Any]:
    """Return a run of a captcha feed with two campaigns, some sources held, one blocked, and hostile names."""
    rng = random.Random(seed)
    return {
        "run": {
            "run_id": "captcha-4c1d2e9a77b01f3c",
            "feed": "captcha",
            "batch_id": "4c1d2e9a77b01f3ce0",
            "status": "committed",
            "phase": "enforcing",
            "state_version": 4182,
            "received_at": _START.isoformat(),
            "started_at": _START.isoformat(),
            "finished_at": (_START + dt.timedelta(seconds=41)).isoformat(),
            "policy_hash": "9f2c" * 16,
            "trusted": "1,480 reference, 886 calibration, 590 holdout",
        },
        "counts": {
            "received": 12_480,
            "accepted": 11_702,
            "quarantined": 693,
            "rejected": 61,
            "staged": 0,
            "seen_before": 24,
            "unreadable": 3,
            "deferred_items": 118,
            "adopted_items": 1_402,
        },
        "levels": {"rule": 14, "record": 97, "source": 221, "campaign": 402},
        "reasons": _reasons(),
        "risk": _risk(rng),
        "sources": _sources(rng),
        "n_sources": 1_244,
        "campaigns": _campaigns(rng),
        "calibration": _calibration(),
        "items": {
            "why": {"adopted": 1_402, "control": 60, "too_few": 71, "disputed": 30, "contested": 12, "conflict": 5},
            "disputed": [
                {"item_id": f"word-{k}", "label": "3", "probability": 0.71, "why": "disputed"} for k in (8, 44)
            ],
        },
        "gate": _gate(),
        "models": _models(),
        "notes": (sentence("few_calibration_rows", {"n": 74, "needed": 100, "group": "android"}),),
        "cost": {
            step: {"wall_s": wall, "cpu_s": wall * 0.93, "peak_mb": 410 + 30 * wall}
            for step, wall in (("collect", 1.2), ("validate", 4.9), ("score", 11.4), ("decide", 3.3), ("store", 2.1))
        },
        "objects": [
            {"uri": f"inbox/captcha/part-{HOSTILE}.parquet", "digest": "ab" * 32, "size": 81_222, "rows": 12_483}
        ],
        "runs": [
            {"run_id": f"captcha-{k}", "counts": {"received": 12_000, "quarantined": 120 + 9 * (k % 5), "rejected": 2}}
            for k in range(14)
        ]
        + [{"run_id": "captcha-4c1d2e9a77b01f3c", "counts": {"received": 12_480, "quarantined": 693, "rejected": 61}}],
        "policy": {"false_quarantine_rate": 0.01, "source_alpha": 0.001, "required": None, "min_answers": 3},
    }


def _check(name: str, outcome: str, why: str, **rest: Any) -> dict[str, Any]:
    facts = {"value": 0.011, "limit": 0.03, "n": 4_210, "low": 0.0, "high": 0.024, "needs": None, "blocking": True}
    ids = {"atlas": "AML.T0020", "nist": "availability poisoning"}
    return {"name": name, "outcome": outcome, "why": why, **facts, **ids, **rest}


def _gate() -> dict[str, Any]:
    return {
        "snapshot": {
            "snapshot_id": "captcha-4182-9f2c11ab",
            "sealed_at": _START,
            "hash": "9f" * 32,
            "counts": {"examples": 4_210, "parts": 12},
            "revoked_why": None,
        },
        "outcome": "inconclusive",
        "at": _START + dt.timedelta(seconds=48),
        "policy_hash": "7d" * 32,
        "checks": [
            _check("label_neighbours", "pass", "1.1 % more labels are contradicted than honest data has"),
            _check("source_share", "pass", f"the largest of 1,244 sources ({HOSTILE}) gave 92 of 11,702 records"),
            _check("canary", "inconclusive", "class 7 may have lost 21 %", value=0.04, high=0.21, needs=340),
            _check("backlog", "inconclusive", "118 items deferred", value=None, low=None, high=None, blocking=False),
        ],
        "approvals": [{"by": HOSTILE, "reason": f"looked at class 7 {HOSTILE}", "at": _START, "expires": None}],
        "admission": {
            "digest": "cd" * 32,
            "issued": _START,
            "expires": _START + dt.timedelta(days=7),
            "revoked": False,
        },
    }


def _models() -> list[dict[str, Any]]:
    def model(name: str, status: str, accuracy: float, why: str | None) -> dict[str, Any]:
        attacks = {attack: {"n": 400, "right": 380 - 20 * i} for i, attack in enumerate(("fgsm", "pgd", "blackbox"))}
        metrics = {
            "accuracy": accuracy,
            "per_class": {"3": {"n": 50, "right": 49}, HOSTILE: {"n": 50, "right": 41}, "9": {"n": 0, "right": 0}},
            "robust": {"n": 400, "right": 331},
            "attacks": attacks,
            "masking": {"suspected": status == "refused", "why": "blackbox finds more than pgd"},
        }
        made = {"model_id": name, "snapshot_id": "captcha-4182-9f2c11ab", "made_at": _START}
        return {**made, "status": status, "metrics": metrics, "why": why}

    return [
        {**model("captcha-4182-9f2c11ab-0c", "trained", 0.0, None), "metrics": {}},
        model("captcha-4182-9f2c11ab-1f", "refused", 0.941, f"class {HOSTILE} lost 12 points"),
        model("captcha-3990-aa00bb11-07", "champion", 0.968, "no class lost more than the limit"),
    ]


def _reasons() -> list[dict[str, Any]]:
    rows = [
        {
            "code": "lockstep",
            "signal": "campaign",
            "n": 402,
            "examples": [
                {"record_id": "a-1182", "args": {"n_records": 402, "n_sources": 38, "n_items": 44, "minutes": 52}},
            ],
        },
        {
            "code": "beyond_trusted",
            "signal": "anomaly",
            "n": 97,
            "examples": [
                {"record_id": "a-88", "args": {"feature": "pointer_speed", "value": 9.1, "low": 0.2, "high": 3.4}},
                {"record_id": "a-913", "args": {"feature": "dwell_ms", "value": 2.0, "low": 180.0, "high": 9000.0}},
            ],
        },
        {
            "code": "controls_wrong",
            "signal": "source",
            "n": 221,
            "examples": [{"record_id": "a-7", "args": {"wrong": 9, "answered": 10}}],
        },
        {
            "code": "expectation",
            "signal": "validation",
            "n": 14,
            "examples": [
                {
                    "record_id": HOSTILE,
                    "args": {
                        "expectation": "in_set",
                        "column": "answer",
                        "value": HOSTILE,
                        "expected": "one of 0 to 9",
                    },
                }
            ],
        },
    ]
    for row in rows:
        for example in row["examples"]:
            example["sentence"] = sentence(row["code"], example.pop("args"))
    return rows


def _risk(rng: random.Random) -> dict[str, list[int]]:
    accepted = [int(3000 * 0.5**k) + rng.randrange(20) for k in range(10)] + [0] * 10
    held = [0] * 10 + [40 - k + rng.randrange(20) for k in range(10)]
    held[18] = 402
    return {"accepted": accepted, "quarantined": held, "rejected": [0] * 19 + [61]}


def _sources(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for k in range(260):
        n = int(rng.lognormvariate(2.6, 1.1)) + 1
        bad = k < 17
        mean = min(0.99, max(0.03, rng.gauss(0.28 if bad else 0.93, 0.09 if bad else 0.035)))
        low = max(0.01, mean - 1.65 * (mean * (1 - mean) / (n + 3)) ** 0.5 - 0.02)
        rows.append(
            {
                "source_id": f"user-{k:04d}" if k != 3 else HOSTILE,
                "n": n + (6 if bad else 0),
                "reliability": mean,
                "lower_bound": low,
                "p": 10 ** -rng.uniform(3.2, 9) if bad else rng.random(),
                "kind": "blocked" if k in (3, 9) else "held" if k < 8 else "campaign" if bad else "plain",
                "controls_right": 3 - k % 3 if bad else 9,
                "controls_wrong": 7 + k % 3 if bad else 1,
                "agreed": 4.0,
                "disagreed": 0.0,
            }
        )
    return rows


def _campaigns(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    shapes = (("lockstep", 402, 38, 52, 20), ("near_duplicate_text", 46, 40, 12, 95), ("lockstep", 28, 6, 9, 130))
    for k, (kind, n, m, minutes, after) in enumerate(shapes):
        first = _START + dt.timedelta(minutes=after)
        args = {"n_records": n, "n_sources": m, "n_items": 44, "minutes": minutes, "new_sources": m - 2}
        rows.append(
            {
                "campaign_id": f"c-{k}f29ab33c01d",
                "kind": kind,
                "p": 10.0 ** -(4 + 3 * k),
                "strength": 0.8,
                "n_records": n,
                "n_sources": m,
                "first_at": first.isoformat(),
                "last_at": (first + dt.timedelta(minutes=minutes)).isoformat(),
                "times": [(first + dt.timedelta(minutes=rng.random() * minutes)).isoformat() for _ in range(60)],
                "sentence": sentence(kind, args),
                "record_ids": [f"a-{k}{j:04d}" for j in range(30)],
                "source_ids": [f"user-{j:04d}" for j in range(30)],
                "sample": [f"repeat after me: {HOSTILE}"] if kind == "near_duplicate_text" else [],
            }
        )
    return rows


def _calibration() -> dict[str, Any]:
    def group(n: int, width: float) -> dict[str, Any]:
        quantiles = [width * -math.log(max(1 - k / 100, 0.5 / n)) for k in range(101)]
        return {"n": n, "attainable_p": 1 / (n + 1), "quantiles": quantiles}

    groups = {"": group(886, 2.0), "web": group(700, 1.7), HOSTILE: group(186, 2.6)}
    return {"supervised": True, "rate": 0.01, "needed": 99, "groups": groups, "pooled": {"android": 74}}
