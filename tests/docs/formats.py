"""Make ``docs/formats.md`` from the registry: ``python -m tests.docs.formats`` writes it, a test compares."""

from __future__ import annotations

import re

from poison_guard.guard import formats
from poison_guard.ingest import paths
from tests.docs.reference import ROOT, table

PAGE = ROOT.parent / "docs" / "formats.md"
HEAD = """# Formats

<!-- Made from the code by `python -m tests.docs.formats`; a test compares. Change the code, then run it. -->

`poison-guard init DATA` finds a known format on sight and writes its roles into the contract; `--format NAME` names
it, and says what is missing where the file is another. `poison-guard formats` lists what stands below, with `--json`
whole. A format is one entry in `poison_guard/onboard/formats/`: how it is recognised and where its roles are. It has
no code of its own.

Files of other tools need no entry: a role may name a path, a list may be exploded, and a second file joined. `init`
guesses roles of values inside objects, and writes lists that look like judgements into the contract as comments.

## Paths

A role names a column, or a path into it. A name that is a column of the file is that column, whatever signs it has.

"""
REST = """
`"a.b"` in quotes is one name. Texts that are JSON (a CSV cell with `{"selected": "left"}`) are opened where a path
goes on in them.

```toml
[columns]
source_id = "annotations[].completed_by"
prompt = "system + messages[:-1]"
response = "messages[-1]"
chosen = "winner ? model_a: response_a, model_b: response_b"
```

A path whose first column is not in a file is a missing column. One that finds nothing in any row is a note of the
run, and its role is empty; where no role finds anything, the file is refused by name. What a path found stands beside
the row's own columns, which are kept.

## Lists of judgements: explode

`explode = "annotations[]"` in `[data]` makes a record of each element. A record is its row with this one element
where the list was, so nothing is lost, and paths read a record as they read a row. `export` puts the records of a row
together again. Rows whose list is empty make no record; a note counts them. A row that has a text, a number or one
object there is held, with what it has. Lists that belong together are written with commas (`"completions[], labels[]"`)
and must be equally long. `prompt.replies[**]` takes the object at `prompt`, those in its list `replies`, and those in
theirs. A star at the top takes columns: `explode = "annotator_*"`.

An id of the row is shared by its records: write `record_id = "id + #"`, or a path below the list. A row may become
`max_explode` records of 64 million characters together; one that would become more is held by itself, and the others
are read.

## A second file: join

```toml
[data.join]
path = "observations/*.jsonl"
key = "observation_id"      # of the feed's rows
to = "id"                   # of the second file's
name = "observation"        # its columns are observation.user_id, observation.input[-1].content …
```

A row has one partner or none. Rows without one, and keys that several rows of the second file give different content,
are counted in a note with the first key; what they lack is missing, and a record without its source or item is held.
`init DATA --join FILE` writes this for formats that have a second file. Where rows have
a `record_id` and `revisions = true`, a file of which some rows found no partner is read again when its second file
grows: a row whose partner came takes the place of the one that lacked it, unless a person decided that. Other files are
read once.

## Known formats

The first entry that a file fits is its format. Where several paths are given, those are mapped whose columns the file
has. An id that never repeats names the record; one that repeats in a log of verdicts names what was judged.

"""


def page() -> str:
    """Return the whole page."""
    return HEAD + _paths() + REST + _formats()


def _paths() -> str:
    lines = str(paths.__doc__).split("\n")
    marks = [i for i, line in enumerate(lines) if line.startswith("===")]
    rows = [re.split(r" {2,}", line, maxsplit=1) for line in lines[marks[0] + 1 : marks[-1]]]
    return table(("path", "what it finds"), [(a.replace("``", "`"), b.replace("``", "`")) for a, b in rows])


def _formats() -> str:
    rows = []
    for entry in formats().formats:
        roles = [f"{role} `{path}`" for role, path in entry["roles"].items() if role != "features"]
        roles += [f"features `{path}`" for path in entry["roles"].get("features", ())]
        explode = f"a record for each of `{entry['explode']}`" if entry["explode"] else ""
        joins = f"`--join`: {entry['joins']}" if entry["joins"] else ""
        missing = "; ".join(part for part in (entry["missing"].rstrip("."), explode, joins) if part)
        known = ", ".join(f"`{way}`" for way in entry["known_by"])
        rows.append((f"`{entry['name']}`", entry["title"], known, "; ".join(roles), missing))
    return table(("format", "what it is", "known by", "roles", "what is missing; records"), rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
