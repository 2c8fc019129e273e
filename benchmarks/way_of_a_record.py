"""Count what one `poison-guard run` of a demo feed enters: own functions, files, and changes of room.

Each function of the package is counted when it is first called, in the order of first calls; what Python runs at
import (module and class bodies) and comprehensions, lambdas and generator expressions are not functions a reader looks
up, and are left out. A room is the first folder below ``poison_guard``, or the file where there is none.

``python benchmarks/way_of_a_record.py [--feed captcha] [--list]`` prints the counts as JSON; ``--write`` counts captcha
and chat and writes ``benchmarks/results/way_of_a_record.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import poison_guard

ROOT = Path(poison_guard.__file__).parent
RESULTS = Path(__file__).parent / "results" / "way_of_a_record.md"
LEFT_OUT = ("signals", "numerics")
"""Rooms of statistics, whose size no change of shape should press down."""


def follow(feed: str, home: Path) -> list[tuple[str, str]]:
    """Run the feed's command and return ``(file, function)`` in the order of first calls, files below the package."""
    from poison_guard.__main__ import main

    seen: dict[CodeType, None] = {}

    def on_call(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.setdefault(frame.f_code)

    sys.argv = ["poison-guard", "run", "--feed", str(contract_of(feed)), "--home", str(home), "--json"]
    sys.setprofile(on_call)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.setprofile(None)
    return [
        (str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname)
        for code in seen
        if code.co_filename.startswith(str(ROOT)) and not code.co_name.startswith("<") and not is_class_body(code)
    ]


def is_class_body(code: CodeType) -> bool:
    """Return whether code is the body of a class, which runs at import."""
    return "__qualname__" in code.co_names and "__module__" in code.co_names


def contract_of(feed: str) -> Path:
    """Return the contract of a demo feed."""
    from poison_guard.drills.demo import shipped

    return Path(shipped("feeds", f"{feed}.toml"))


def room_of(file: str) -> str:
    """Return the room of a file below the package."""
    return file.split("/", maxsplit=1)[0].removesuffix(".py")


def count(order: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the counts of a list of first calls."""
    rooms = [room_of(file) for file, _ in order]
    outside = [pair for pair in order if room_of(pair[0]) not in LEFT_OUT]
    between = [room_of(file) for file, _ in outside]
    return {
        "functions": len(order),
        "functions outside signals and numerics": len(outside),
        "files": len({file for file, _ in order}),
        "changes of room": sum(a != b for a, b in itertools.pairwise(rooms)),
        "changes of room outside signals and numerics": sum(a != b for a, b in itertools.pairwise(between)),
        "functions by room": dict(Counter(rooms).most_common()),
    }


BEFORE = {
    "captcha": {
        "functions": 676,
        "functions outside signals and numerics": 440,
        "files": 131,
        "changes of room": 129,
        "changes of room outside signals and numerics": 62,
    },
    "chat": {
        "functions": 574,
        "functions outside signals and numerics": 431,
        "files": 117,
        "changes of room": 95,
        "changes of room outside signals and numerics": 61,
    },
}
"""What this script counted at commit 31ccc9a, before the house was rebuilt."""
REBUILT = {
    "captcha": {
        "functions": 592,
        "functions outside signals and numerics": 336,
        "files": 102,
        "changes of room": 62,
        "changes of room outside signals and numerics": 54,
    },
    "chat": {
        "functions": 499,
        "functions outside signals and numerics": 329,
        "files": 89,
        "changes of room": 64,
        "changes of room outside signals and numerics": 54,
    },
}
"""At commit 0b1e33b: the same features in the new house. What is counted now has new ones (parsing, labels, places)."""


def as_table(counts: dict[str, dict[str, Any]]) -> str:
    """Return the counts of each feed beside those of before, as Markdown."""
    lines = [
        "# The way of a record",
        "",
        "Written by `python benchmarks/way_of_a_record.py --write`: what one `poison-guard run` of a demo feed enters,",
        "counted at first calls. Before: commit 31ccc9a, by the same script. Wanted for captcha: at most 264 functions",
        "outside `signals` and `numerics` (60 %), 110 files, 50 changes of room. Rebuilt: commit 0b1e33b, which did",
        "what the guard did before; since then it reads, names and explains more. The rebuilt house has more functions",
        "and changes of room than wanted: half of its functions read (a hostile file is bounded, parsed, named and",
        "hashed before anything else) and store (one transaction, sealed row by row). Inlining more would make",
        "functions of over 30 lines.",
        "",
        "| feed | counted | before | rebuilt | now |",
        "|---|---|---|---|---|",
    ]
    for feed, now in counts.items():
        lines += [
            f"| {feed} | {name} | {n} | {REBUILT[feed][name]} | {now[name]} |" for name, n in BEFORE[feed].items()
        ]
    lines += [
        "",
        "Functions by room, captcha: "
        + ", ".join(f"{k} {v}" for k, v in counts["captcha"]["functions by room"].items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feed", default="captcha")
    parser.add_argument("--list", action="store_true", help="print each function instead, a line each")
    parser.add_argument("--write", action="store_true", help="count captcha and chat and write the table")
    given = parser.parse_args()
    if given.write:
        RESULTS.write_text(as_table({feed: count(walk(feed)) for feed in BEFORE}), encoding="utf-8")
        return
    order = walk(given.feed)
    if given.list:
        for file, function in order:
            print(f"{room_of(file):10} {file} {function}")
    else:
        print(json.dumps(count(order), indent=2))


def walk(feed: str) -> list[tuple[str, str]]:
    """Make a home with the feed's world and return what its run enters."""
    with tempfile.TemporaryDirectory() as folder:
        from poison_guard import Guard
        from poison_guard.drills.demo import trusted_path, write_world
        from poison_guard.drills.worlds import make_world

        home = Path(folder)
        write_world(make_world(feed, 0), home)
        guard = Guard.open(contract_of(feed), home=home)
        guard.trust(str(trusted_path(home, feed)), by="benchmark", reason="the world's vetted records")
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            return follow(feed, home)


if __name__ == "__main__":
    main()
