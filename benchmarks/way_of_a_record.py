"""Count what one `poison-guard run` of a demo feed enters: own functions, files, and changes of room.

Each function of the package is counted when it is first called, in the order of first calls; what Python runs at
import (module and class bodies) and comprehensions, lambdas and generator expressions are not functions a reader looks
up, and are left out. A room is the first folder below ``poison_guard``, or the file where there is none.

``python benchmarks/way_of_a_record.py [--feed captcha] [--list]`` prints the counts as JSON.
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


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feed", default="captcha")
    parser.add_argument("--list", action="store_true", help="print each function instead, a line each")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        from poison_guard import Guard
        from poison_guard.drills.demo import trusted_path, write_world
        from poison_guard.drills.worlds import make_world

        home = Path(folder)
        write_world(make_world(given.feed, 0), home)
        guard = Guard.open(contract_of(given.feed), home=home)
        guard.trust(str(trusted_path(home, given.feed)), by="benchmark", reason="the world's vetted records")
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            order = follow(given.feed, home)
    if given.list:
        for file, function in order:
            print(f"{room_of(file):10} {file} {function}")
    else:
        print(json.dumps(count(order), indent=2))


if __name__ == "__main__":
    main()
