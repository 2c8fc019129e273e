"""Fuzz what reads from outside: ``python -m tests.faults.fuzz TARGET --cases N``; with atheris where it is installed.

Targets: csv, jsonl, parquet (a feed's objects, as `run` reads them), contract, manifest, revocations, model. A case
fails where it ends in anything but a result or a `GuardError`, takes over 10 s or too much memory, stops a feed, loses
a row without a word, or where a changed manifest or list is taken for a good one.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CORPUS", "TARGETS", "Finding", "Fuzzed", "corpus", "fuzz", "mutated"]

CORPUS = Path(__file__).with_name("corpus")
NOW = dt.datetime(2026, 12, 1, 8, tzinfo=dt.UTC)
SLOW_S, MEMORY_MB = 10.0, 600.0

Target = Callable[[bytes], str]
"""Reads one case and returns how it ended, in a word; raises what it should not."""


class LostError(AssertionError):
    """Rows went in that did not come out."""


@dataclass
class Finding:
    """A case that failed."""

    target: str
    kind: str
    case: bytes
    what: str


@dataclass
class Fuzzed:
    """What came of a target's cases."""

    target: str
    cases: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest_s: float = 0.0
    memory_mb: float = 0.0
    seconds: float = 0.0


CONTRACT = {
    "name": "quiz",
    "kind": "answers",
    "columns": {"record_id": "id", "source_id": "user", "item_id": "word", "answer": "said", "features": ["speed"]},
}
HONEST_ROWS = 20
HONEST = "id,user,word,said,speed\n" + "".join(f"h{i},u{i % 5},w{i % 4},a{i % 3},{i}.5\n" for i in range(HONEST_ROWS))


@dataclass
class Readers:
    """Reads many cases as objects of one feed, as `run` does, beside an honest one that must come out whole."""

    ending: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="poison-guard-fuzz-")))

    def __call__(self, bodies: Sequence[bytes]) -> list[str]:
        """Read all; return a word for each, or raise what one of them did."""
        from poison_guard.config import parse_contract
        from poison_guard.ingest.collect import collect_frames

        contract = parse_contract({**CONTRACT, "data": {"path": f"{self.folder}/*", "max_rows": 20000}})
        honest = self.folder / "honest.csv"
        honest.write_text(HONEST)
        paths = [self.folder / f"case-{k:05d}.{self.ending}" for k in range(len(bodies))]
        for path, body in zip(paths, bodies, strict=True):
            path.write_bytes(body)
        try:
            batch = collect_frames(contract, None, home=self.folder, received_at=NOW)
        finally:
            for path in paths:
                path.unlink()
        _check_whole(batch)
        whole = batch.unreadable.loc[batch.unreadable["row"].astype(int) == 0, "object"]
        refused = {Path(uri).name for uri in whole}
        return ["refused" if path.name in refused else "read" for path in paths]


def _check_whole(batch: Any) -> None:
    """Raise `LostError` where rows went in that did not come out, or an honest one is not what it was."""
    ids = [*batch.records["record_id"], *batch.unreadable["record_id"]]
    rows = sum(ref.rows or 0 for ref in batch.objects)
    if rows != len(ids) + batch.duplicates:
        raise LostError(f"{rows} rows were read, {len(ids)} came out and {batch.duplicates} were there twice")
    if len(set(ids)) != len(ids):
        raise LostError("an id came out twice")
    mine = batch.records[batch.records["object"].astype(str).str.endswith("honest.csv")]
    if len(mine) != HONEST_ROWS:
        raise LostError(f"{HONEST_ROWS - len(mine)} of {HONEST_ROWS} honest rows did not come out")


def _contract() -> Target:
    from poison_guard.config import load_contract

    file = Path(tempfile.mkdtemp(prefix="poison-guard-fuzz-")) / "feed.toml"

    def read(body: bytes) -> str:
        file.write_bytes(body)
        load_contract(file)
        return "read"

    return read


def _revocations() -> Target:
    from poison_guard.gate.keys import public_key
    from poison_guard.gate.revocations import fresh_revocations

    public = public_key(CORPUS / "signing.pub")
    good = {json.loads(path.read_bytes())["payload"] for path in (CORPUS / "revocations").iterdir()}

    def read(body: bytes) -> str:
        fresh_revocations(body, public, now=NOW, max_age=dt.timedelta(days=1))
        if json.loads(body)["payload"] not in good:
            raise LostError("a changed revocation list is taken for a good one")
        return "read"

    return read


def _manifest() -> Target:
    from poison_guard.gate.verify import verify_manifest

    file = Path(tempfile.mkdtemp(prefix="poison-guard-fuzz-")) / "manifest.json"
    good = {json.loads(path.read_bytes())["payload"] for path in (CORPUS / "manifest").iterdir()}

    def read(body: bytes) -> str:
        file.write_bytes(body)
        listed = CORPUS / "revocations" / "empty.json"
        verify_manifest(file, public_key=CORPUS / "signing.pub", revocations=listed, now=NOW)
        if json.loads(body)["payload"] not in good:
            raise LostError("a changed manifest is taken for a good one")
        return "read"

    return read


def _model() -> Target:
    from poison_guard.retrain.trained_model import read_model

    file = Path(tempfile.mkdtemp(prefix="poison-guard-fuzz-")) / "model.safetensors"

    def read(body: bytes) -> str:
        file.write_bytes(body)
        read_model(file)
        return "read"

    return read


SINGLE: dict[str, Callable[[], Target]] = {
    "contract": _contract,
    "manifest": _manifest,
    "revocations": _revocations,
    "model": _model,
}
READERS = ("csv", "jsonl", "parquet")
TARGETS = (*READERS, *SINGLE)
_AT_ONCE = 50
"""Objects that are read together: a run of them costs one reader."""


def corpus(target: str) -> list[bytes]:
    """Return the seeds of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


_TOKENS: tuple[bytes, ...] = (
    b"", b"\x00", b"\n", b"\r\n", b'"', b",", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"{", b"}", b"[", b"]", b":",
    b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 40, b"-1", b"0x", b"true", b"id", b"user", b"\\u0000", b"\\ud800",
    b"=1+1", b"[[", b'"""', b"PAR1", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"__metadata__", b"../", b" ",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return a seed with a few bytes, tokens, lines or halves changed."""
    body = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 5, 12))):
        at, end = (rng.randrange(len(body) + 1) for _ in range(2))
        match rng.randrange(9):
            case 0 if body:
                body[at % len(body)] ^= 1 << rng.randrange(8)
            case 1:
                body[at:at] = rng.choice(_TOKENS)
            case 2:
                body[at : at + rng.randrange(1, 9)] = rng.choice(_TOKENS)
            case 3:
                del body[min(at, end) : min(at, end) + rng.randrange(1, 64)]
            case 4:
                body[at:at] = body[end : end + rng.randrange(1, 256)]
            case 5:
                other = rng.choice(seeds)
                body[at:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                body[at:at] = rng.randbytes(rng.randrange(1, 16))
            case 7:
                lines = bytes(body).split(b"\n")
                rng.shuffle(lines) if rng.random() < 0.3 else lines.insert(0, rng.choice(lines))
                body = bytearray(b"\n".join(lines))
            case _:
                del body[at:]
        del body[1 << 20 :]
    return bytes(body)


def fuzz(target: str, cases: int, *, seed: int = 0, note: Callable[[Finding], None] | None = None) -> Fuzzed:
    """Give a target that many mutated cases and return what came of them; `note` is told each finding at once."""
    rng, seeds = random.Random(f"{target}-{seed}"), corpus(target)
    told, started = Fuzzed(target), time.monotonic()
    read = Readers(target) if target in READERS else _one_by_one(SINGLE[target]())
    at_once = _AT_ONCE if target in READERS else 1
    idle = _rss()
    while told.cases < cases:
        group = [mutated(seeds, rng) for _ in range(min(at_once, cases - told.cases))]
        for finding in _try(target, read, group, told):
            told.findings.append(finding)
            if note:
                note(finding)
        told.cases += len(group)
    told.memory_mb, told.seconds = _rss() - idle, time.monotonic() - started
    if told.memory_mb > MEMORY_MB:
        told.findings.append(Finding(target, "memory", b"", f"{told.memory_mb:.0f} MB above idle"))
    return told


def _one_by_one(target: Target) -> Callable[[Sequence[bytes]], list[str]]:
    return lambda bodies: [target(body) for body in bodies]


def _try(target: str, read: Callable[[Sequence[bytes]], list[str]], group: list[bytes], told: Fuzzed) -> list[Finding]:
    """Read a group; where it fails, each half by itself, down to the cases that do."""
    from poison_guard.errors import GuardError

    started = time.process_time()
    try:
        told.ends.update(read(group))
    except GuardError as error:
        if len(group) == 1 and target in READERS:
            return [Finding(target, "stops the feed", group[0], str(error)[:160])]
        if len(group) == 1:
            told.ends[type(error).__name__] += 1
            return []
    except Exception as error:  # noqa: BLE001  what a fuzzer looks for
        if len(group) == 1:
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {str(error)[:160]} at {Path(last.filename).name}:{last.lineno}"
            return [Finding(target, "lost" if isinstance(error, LostError) else "traceback", group[0], what)]
    else:
        took = time.process_time() - started
        told.slowest_s = max(told.slowest_s, took / len(group))
        if took <= SLOW_S or (len(group) > 1 and took <= SLOW_S * 2):
            return []
        if len(group) == 1:
            return [Finding(target, "slow", group[0], f"{took:.1f} s")]
    half = len(group) // 2
    return [*_try(target, read, group[:half], told), *_try(target, read, group[half:], told)]


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_INSTRUMENTED = ("poison_guard.ingest", "poison_guard.config", "poison_guard.gate", "poison_guard.retrain", "tomllib")
"""What atheris sees the branches of; the standard library's TOML among it, or most contracts would end there alike."""


def _with_atheris(target: str, cases: int, folder: Path) -> None:
    """Let atheris look for cases by coverage; it ends this process, and leaves a case that failed in `folder`."""
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        read = Readers(target) if target in READERS else _one_by_one(SINGLE[target]())
        if target in READERS:
            _read_here()
        with contextlib.suppress(Exception):
            read(corpus(target)[:1])
    from poison_guard.errors import GuardError

    refusals = () if target in READERS else (GuardError,)  # one object must not stop the feed

    def one(body: bytes) -> None:
        with contextlib.suppress(*refusals):
            read([body])

    folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-runs={cases}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder / "found"), str(CORPUS / target)], one)
    (folder / "found").mkdir(exist_ok=True)
    atheris.Fuzz()


def _read_here() -> None:
    """Let objects be read in this process, for atheris sees no branch of another; what bounds that one is not tried."""
    from poison_guard.ingest import child
    from poison_guard.ingest.reader import ChildReader

    def ask(_: ChildReader, request: dict[str, Any], limits: Any) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(child._answer(request, limits))
        return answer

    ChildReader._ask = ask  # type: ignore[method-assign]


def by_coverage(target: str, cases: int, work: Path, note: Callable[[Finding], None]) -> Fuzzed:
    """Fuzz a target with atheris in a process of its own, again after each failure, and return what came of it."""
    told, folder, started = Fuzzed(target), work / "atheris" / target, time.monotonic()
    while told.cases < cases and len(told.findings) < 10:
        before = {path.name for path in folder.glob("*-*")}
        command = [sys.executable, "-m", "tests.faults.fuzz", target, "--in-atheris", "--work", str(work)]
        command += ["--cases", str(cases - told.cases)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
        if not stats:
            raise RuntimeError(f"atheris did not run: {done.stderr.strip()[-300:]}")
        told.cases += int(stats["number_of_executed_units"])
        told.memory_mb = max(told.memory_mb, float(stats["peak_rss_mb"]))
        for path in (path for path in folder.glob("*-*") if path.name not in before):
            last = [line for line in done.stderr.splitlines() if re.match(r"\w+(Error|Exception)\b|ERROR", line)]
            finding = Finding(target, path.name.split("-")[0], path.read_bytes(), (last or [path.name])[-1][:200])
            told.findings.append(finding)
            note(finding)
    told.seconds = time.monotonic() - started
    return told


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--cases", type=int, default=1000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("/tmp/poison-guard-faults"))
    parser.add_argument("--atheris", action="store_true", help="look for cases by their coverage")
    parser.add_argument("--in-atheris", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.in_atheris:
        _with_atheris(args.targets[0], args.cases, args.work / "atheris" / args.targets[0])
    (args.work / "findings").mkdir(parents=True, exist_ok=True)

    def note(finding: Finding) -> None:
        name = f"{finding.target}-{hashlib.sha256(finding.case).hexdigest()[:8]}"
        (args.work / "findings" / name).write_bytes(finding.case)
        print(f"{finding.target} {finding.kind}: {finding.what} ({name})", flush=True)

    for target in args.targets:
        told = (
            by_coverage(target, args.cases, args.work, note)
            if args.atheris
            else fuzz(target, args.cases, seed=args.seed, note=note)
        )
        found = dict(Counter(f"{finding.kind}: {finding.what}" for finding in told.findings))
        row = {**vars(told), "ends": dict(told.ends), "findings": found, "seed": args.seed}
        with (args.work / "fuzz.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{target}: {told.cases:,} cases in {told.seconds:.0f} s, {len(told.findings)} findings, "
            f"slowest {told.slowest_s:.2f} s, {told.memory_mb:.0f} MB; {dict(told.ends)}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
