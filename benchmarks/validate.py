"""Measure the batch contract and the search for failing rows against Great Expectations' own lists, in one run.

Usage: ``python benchmarks/validate.py``; writes ``benchmarks/results/validate.md``. Each cell of the table is measured
in a process of its own, after imports and a warm-up on 100 rows: CPU seconds, and the peak of resident memory above
what the process held with the data loaded. Linux only (peaks are read from /proc).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results" / "validate.md"
CASES = ((100_000, 0.01), (1_000_000, 0.01), (1_000_000, 0.3))
"""Rows, and the share of them that break a rule: a quiet day, and a client update gone wrong."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
VALUES = "expect_column_values_to_"
WAYS = {
    "complete": "Great Expectations, `COMPLETE` with ids",
    "boolean": "Great Expectations, `BOOLEAN_ONLY` (names no row)",
    "verdict": "poison_guard, batch verdict",
    "rows": "poison_guard, failing rows",
    "ours": "**poison_guard, verdict and failing rows**",
}


def make_frame(n: int, share: float = 0.01) -> pd.DataFrame:
    """Feedback with ids, an answer, a rating, two measurements and a text; a `share` of its rows breaks a rule."""
    rng = np.random.default_rng(0)
    text = pd.Series(rng.choice(["hello, how are you", "ok", "a longer sentence about things"], n), dtype="str")
    ids = pd.Series(np.arange(n).astype(str), dtype="str")
    frame = pd.DataFrame(
        {
            "record_id": ids,
            "user_id": pd.Series(rng.integers(0, n // 20 + 1, n).astype(str), dtype="str"),
            "answer": pd.Series(rng.integers(0, 10, n).astype(str), dtype="str"),
            "stars": rng.integers(1, 6, n).astype(float),
            "dwell_ms": rng.gamma(2, 300, n),
            "pointer_speed": rng.gamma(2, 0.5, n),
            "text": text + " " + ids,
        }
    )
    frame.loc[rng.random(n) < share / 2, "stars"] = 9
    frame.loc[rng.random(n) < share / 2, "dwell_ms"] = np.nan
    return frame


def make_suite() -> dict:
    """Twelve expectations of the kinds that `poison-guard init` proposes."""

    def rule(type_: str, **kwargs: object) -> dict:
        return {"type": type_, "kwargs": kwargs}

    return {
        "name": "benchmark",
        "expectations": [
            rule("expect_table_row_count_to_be_between", min_value=1),
            rule(VALUES + "not_be_null", column="record_id"),
            rule(VALUES + "be_unique", column="record_id"),
            rule(VALUES + "not_be_null", column="user_id"),
            rule(VALUES + "match_regex", column="user_id", regex="^[0-9]+$"),
            rule(VALUES + "be_in_set", column="answer", value_set=[str(i) for i in range(10)], mostly=0.95),
            rule(VALUES + "be_between", column="stars", min_value=1, max_value=5, mostly=0.95),
            rule(VALUES + "not_be_null", column="dwell_ms", mostly=0.95),
            rule(VALUES + "be_between", column="dwell_ms", min_value=0, max_value=100_000),
            rule(VALUES + "be_between", column="pointer_speed", min_value=0, max_value=100),
            rule("expect_column_value_lengths_to_be_between", column="text", min_value=1, max_value=4000),
            rule(VALUES + "not_match_regex", column="text", regex="(?i)ignore previous"),
        ],
    }


def great_expectations_way(result_format: dict) -> Callable[[pd.DataFrame], int]:
    """The way its documentation shows; returns how many failing rows it named."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(gx.ExpectationSuite(**make_suite()))

    def run(frame: pd.DataFrame) -> int:
        found = context.data_sources.pandas_default.read_dataframe(frame).validate(suite, result_format=result_format)
        return sum(len(r.result.get("unexpected_index_list") or ()) for r in found.results)

    return run


def our_way(*, verdict: bool, rows: bool) -> Callable[[pd.DataFrame], int]:
    from poison_guard.contracts.check import check_batch, failing_rows
    from poison_guard.contracts.suite import parse_suite

    suite = parse_suite(make_suite())

    def run(frame: pd.DataFrame) -> int:
        report = check_batch(frame, suite) if verdict else None
        return len(failing_rows(frame, suite, report=report)) if rows else 0

    return run


def measure(way: str, n: int, share: float) -> dict:
    """CPU seconds, peak MB above the loaded data, failing rows named."""
    match way:
        case "complete":
            run = great_expectations_way({"result_format": "COMPLETE", "unexpected_index_column_names": ["record_id"]})
        case "boolean":
            run = great_expectations_way({"result_format": "BOOLEAN_ONLY"})
        case _:
            run = our_way(verdict=way != "rows", rows=way != "verdict")
    run(make_frame(100))
    frame = make_frame(n, share)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = memory("VmRSS"), time.process_time()
    named = run(frame)
    return {"cpu": time.process_time() - start, "peak": memory("VmHWM") - before, "named": named}


def memory(field: str) -> float:
    """MB of this process by its own account."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def table(found: dict[tuple[str, int, float], dict]) -> str:
    """Return the results as Markdown."""
    cases = list(dict.fromkeys(key[1:] for key in found))
    heads = [f"{n:,} rows, {share:.0%} fail: CPU s | peak MB | rows named" for n, share in cases]
    lines = [
        "# Validation: one batch, 12 expectations, seven columns",
        "",
        "CPU seconds on one thread, and peak memory above the loaded data. All cells are from one run of",
        f"`python benchmarks/validate.py` (Python {platform.python_version()}, pandas {pd.__version__}).",
        "",
        f"| | {' | '.join(heads)} |",
        "|---|" + "---:|---:|---:|" * len(cases),
    ]
    for way, words in WAYS.items():
        row = [found[way, *case] for case in cases]
        lines.append(
            f"| {words} | " + " | ".join(f"{r['cpu']:.2f} | {r['peak']:,.0f} | {r['named']:,}" for r in row) + " |"
        )
    ratios = [f"{found['complete', *case]['cpu'] / found['ours', *case]['cpu']:.1f}" for case in cases]
    lines += ["", f"CPU of `COMPLETE` over poison_guard's verdict and failing rows: {', '.join(ratios)} (same order)."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(arguments[1], int(arguments[2]), float(arguments[3]))))
        return
    found = {}
    for case in CASES:
        for way in WAYS:
            child = [sys.executable, __file__, "--one", way, *map(str, case)]
            ran = subprocess.run(child, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
            found[way, *case] = json.loads(ran.stdout.splitlines()[-1])
            print(way, *case, found[way, *case], file=sys.stderr, flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
