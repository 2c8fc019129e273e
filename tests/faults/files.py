"""Files of every kind that people export, whole and damaged: rows in are rows accounted for.

``python -m tests.faults.files --files 10000`` writes the table of ``benchmarks/results/files.md``.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from poison_guard.config import Contract, parse_contract
from poison_guard.files import write_text
from poison_guard.ingest.collect import collect_frames

__all__ = ["AFile", "check_file", "files"]

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
KINDS = {
    "answers": {"source_id": "user", "item_id": "item", "answer": "answer", "observed_at": "at"},
    "messages": {"record_id": "id", "author_id": "user", "text": "text"},
    "telemetry": {"source_id": "user", "features": ["dwell", "keys"]},
    "preferences": {"prompt": "prompt", "chosen": "text", "rejected": "other"},
    "examples": {"text": "text", "label": "answer"},
}
_TEXT = st.text(st.sampled_from("aé€ÿ語\"',;|\t#=\n\\{}[]🙂 0"), max_size=12)
_CAME = ("read", "in part", "refused")
_DEEP = st.recursive(st.none() | st.integers(-9, 9) | _TEXT, lambda x: st.lists(x, max_size=3), max_leaves=6)
_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(0, 40).map(lambda n: f"r{n}"),
    "user": st.sampled_from(["u1", "u2", " u2", "NULL", "", "ü"]),
    "item": st.integers(0, 9).map(str),
    "answer": st.sampled_from(["cat", "Cat", "true", "1", "1.0", "", "né"]),
    "at": st.sampled_from(["2026-02-01T10:00:00Z", "1767225600", "11/03/2026 04:55 AM", "", "9999"]),
    "dwell": st.sampled_from(["3.312", "5,567", "845", "-1e3", "nan", "x", ""]),
    "keys": st.integers(-3, 10**18).map(str),
    "prompt": _TEXT,
    "text": _TEXT,
    "other": _TEXT,
}


@dataclass(frozen=True, slots=True)
class AFile:
    """One generated file."""

    name: str
    content: bytes
    rows: int
    """Records that were written into it."""
    contract: Contract
    damaged: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    """What it is like, for the table."""


@st.composite
def files(draw: st.DrawFn) -> AFile:
    """Return a file of some kind, format, encoding and layout, as it was written or with bytes of it damaged."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    names = [n for value in KINDS[kind].values() for n in ([value] if isinstance(value, str) else value)]
    names += draw(st.lists(st.sampled_from(["other", "keys", "prompt"]), max_size=2, unique=True))
    names = list(dict.fromkeys(names))
    rows = draw(st.lists(st.fixed_dictionaries({name: _CELLS[name] for name in names}), min_size=1, max_size=25))
    form = draw(st.sampled_from(["csv", "csv", "csv", "jsonl", "array", "wrapped", "pretty", "objects", "parquet"]))
    data: dict[str, Any] = {}
    facts = {"format": form, "kind": kind, "nesting": "no", "encoding": "bytes", "damage": "no"}
    if form == "parquet":
        sink = io.BytesIO()
        pd.DataFrame(rows, dtype="str").to_parquet(sink)
        content, ending = sink.getvalue(), ".parquet"
    elif form == "csv":
        content, ending = draw(_csv(rows, data, facts)), draw(st.sampled_from([".csv", ".tsv", ".csv.gz"]))
    else:
        if draw(st.booleans()):
            facts["nesting"] = "yes"
            rows = [{**row, "deep": draw(_DEEP)} for row in rows]
        encoding = facts["encoding"] = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
        content, ending = _json(rows, form).encode(encoding), draw(st.sampled_from([".jsonl", ".json", ".json.gz"]))
    if draw(st.integers(0, 4)) == 0:
        facts["damage"] = draw(st.sampled_from(["cut", "bytes", "quote"]))
        content = _damage(content, facts["damage"], draw(st.integers(0, 10_000)))
    if ending.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    contract = parse_contract({"name": "f", "kind": kind, "columns": KINDS[kind], "data": data})
    return AFile(f"a{ending}", content, len(rows), contract, facts["damage"] != "no", facts)


@st.composite
def _csv(draw: st.DrawFn, rows: list[dict[str, str]], data: dict[str, Any], facts: dict[str, str]) -> bytes:
    encoding = facts["encoding"] = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"]))
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    out = io.StringIO(newline="")
    out.write(draw(st.sampled_from(["", "", f"sep={delimiter}{end}", f"# report{end}{end}"])))
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    if draw(st.integers(0, 5)) or len(rows[0]) == 1:
        writer.writerow(rows[0])
    else:
        data |= {"header": False, "names": list(rows[0]), "delimiter": delimiter}
    writer.writerows(row.values() for row in rows)
    facts["delimiter"] = {"\t": "tab"}.get(delimiter, delimiter)
    if encoding in ("cp1252", "latin-1") and draw(st.booleans()):
        data["encoding"] = encoding
    return out.getvalue().encode(encoding, "replace")


def _json(rows: list[dict[str, Any]], form: str) -> str:
    match form:
        case "jsonl":
            return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        case "array":
            return json.dumps(rows)
        case "wrapped":
            return json.dumps({"meta": {"total": len(rows)}, "data": rows}, ensure_ascii=False)
        case "pretty":
            return json.dumps(rows, indent=2)
    return "\n".join(json.dumps(row, indent=1) for row in rows)


def _damage(content: bytes, how: str, at: int) -> bytes:
    at %= max(1, len(content))
    if how == "cut":
        return content[:at] or b"x"
    return content[:at] + (b"\xff\xfe\x00" if how == "bytes" else b'"') + content[at:]


def check_file(file: AFile, folder: Path) -> str:
    """Return how the file came out: ``read``, ``in part`` or ``refused``; `AssertionError` for a row that is lost."""
    path = folder / file.name
    path.write_bytes(file.content)
    batch = collect_frames(file.contract, [str(folder / f"{path.name[0]}*")], home=folder, received_at=NOW)
    taken = len(batch.records) + batch.duplicates
    assert sum(ref.rows for ref in batch.objects) == taken + len(batch.unreadable), "rows in are not rows accounted"
    places = pd.concat([batch.records[["object", "row"]], batch.unreadable[["object", "row"]]])
    assert not places.duplicated().any(), "two rows have one place"
    assert (batch.unreadable["args"].map(lambda args: bool(args["why"]))).all(), "a row is refused without a reason"
    refused = bool((batch.unreadable["row"] == 0).any())
    if refused:
        assert not taken, "a refused file has records"
        assert len(batch.unreadable) == 1, "a refused file has unreadable rows"
        assert file.damaged, f"a whole file is refused: {batch.unreadable['args'].iloc[0]}"
        return "refused"
    if not file.damaged:
        assert taken + len(batch.unreadable) == file.rows, (
            f"{file.rows} rows came out as {taken}+{len(batch.unreadable)}"
        )
    return "in part" if len(batch.unreadable) else "read"


def run_all(n: int, check: Callable[[AFile], str]) -> tuple[Counter[tuple[str, str, str]], int]:
    """Return how often files with each fact came out how, and how many rows they had."""
    counts: Counter[tuple[str, str, str]] = Counter()
    rows = 0

    @settings(
        max_examples=n, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(files())
    def each(file: AFile) -> None:
        nonlocal rows
        came = check(file)
        rows += file.rows
        if (n := sum(counts["all", "files", c] for c in _CAME)) % 500 == 499:
            print(f"{n + 1:,} files", file=sys.stderr)
        counts.update((fact, value, came) for fact, value in {**file.facts, "all": "files"}.items())

    each()
    return counts, rows


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/files.md"))
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:

        def check(file: AFile) -> str:
            for old in Path(folder).iterdir():
                old.unlink()
            return check_file(file, Path(folder))

        counts, rows = run_all(options.files, check)
    lines = [
        "# Files of every kind",
        "",
        "Written by `python -m tests.faults.files`, which `make faults` runs. Each file is generated (hypothesis) with",
        "a kind, a format, an encoding, a delimiter and nested cells, one in five with damaged bytes. Rows in are rows",
        "accounted for: each row of a file is a record, a repetition of one, or unreadable with its place and reason.",
        "An undamaged file is never refused, and its rows are as many as were written.",
        "",
        f"{sum(counts['all', 'files', came] for came in _CAME):,} files with {rows:,} rows: no row was lost or counted "
        f"twice ({time.monotonic() - start:,.0f} s).",
        "",
        "| | | read whole | read in part | refused |",
        "|---|---|---|---|---|",
    ]
    for fact, value in dict.fromkeys((fact, value) for fact, value, _ in sorted(counts)):
        cells = " | ".join(f"{counts[fact, value, came]:,}" for came in _CAME)
        shown = f"`{value}`".replace("|", "\\|")
        lines.append(f"| {fact} | {shown} | {cells} |")
    write_text("\n".join(lines) + "\n", options.out, mode=None)


if __name__ == "__main__":
    main()
