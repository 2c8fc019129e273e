"""A feed whose texts, ids and sources are hostile, with records that wait, and the pages of its home."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from poison_guard import Guard
from poison_guard.guard import Home

fastapi = pytest.importorskip("fastapi", reason="the extra [web] is not installed")
pytest.importorskip("argon2", reason="the extra [web] is not installed")
from fastapi.testclient import TestClient  # noqa: E402

from poison_guard.web.app import create_app  # noqa: E402
from poison_guard.web.people import OneName, SignedIn  # noqa: E402

CONTRACT = """
name = "notes"
kind = "messages"
[data]
path = "in.jsonl"
[columns]
record_id = "id"
source_id = "user"
author_id = "writer"
item_id = "about"
label = "says"
text = "text"
[privacy]
private = ["phone"]
[policy]
required = ["validation"]
"""
_SEEDS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "'\"><svg onload=alert(1)>", "javascript:alert(1)",
    "{{ 7*7 }}", "{% raw %}", "${7*7}", "<!--", "]]>", "</title><script>alert(1)</script>", "&lt;b&gt;", "=1+1",
    "@SUM(A1)", "\u202eevil", "\u2066x\u2069", "a\u0000b", "\x1b[31mred", "<a href='javascript:alert(1)'>x</a>",
    "%3Cscript%3E", "../../etc/passwd", "a/b?c=d&e=f#g", "\U0001f600", "x" * 4000, "<base href=//evil.example>",
    "<iframe srcdoc='<script>alert(1)</script>'>", "<form action=//evil.example><input>",
    "<style>*{display:none}</style>", "data:text/html,<script>alert(1)</script>", "\" autofocus onfocus=alert(1) x=\"",
)  # fmt: skip
HOSTILE = tuple(f"{seed}{k}" if k else seed for k in range(8) for seed in _SEEDS)
"""Over 200 texts that try to leave their place."""


@pytest.fixture(scope="session")
def notes(tmp_path_factory) -> Path:
    """Return a folder with a home: hostile notes of which half waits, users, a contract."""
    folder = tmp_path_factory.mktemp("notes")
    rows = [
        {
            "id": f"r{k}" if k % 2 else f"r{k}{text[:40]}",
            "user": f"u{k % 7}{text[:30] if k % 3 == 0 else ''}",
            "writer": f"w{k % 5}",
            "about": f"i{k % 9}{text[:30] if k % 4 == 0 else ''}",
            "says": "yes" if k % 3 else text[:20],
            "text": text,
            "phone": f"+49 {k}",
        }
        for k, text in enumerate(HOSTILE)
    ]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "home" / "feeds").mkdir(parents=True)
    (folder / "home" / "feeds" / "notes.toml").write_text(CONTRACT.replace('"in.jsonl"', f'"{folder}/in.jsonl"'))
    guard = Guard.open("notes", home=folder / "home")
    ids = guard.ingest().decisions["record_id"].tolist()
    guard.recall(record_ids=ids[: len(ids) // 2 * 2], by="test", reason="to have a queue")
    home = Home.open(folder / "home")
    ann = home.add_user("ann", "correct horse 1", first=True)
    assert ann.name == "ann"
    token = home.sign_in("ann", "correct horse 1", via="token")
    for name, role in (("rob", "reviewer"), ("val", "viewer"), ("eve", "reviewer")):
        home.add_user(name, f"correct horse {name}", role=role, by=token.person)
    return folder


@pytest.fixture
def home(notes, tmp_path) -> Path:
    """Return a copy of the home that a test may change."""
    copy = tmp_path / "home"
    shutil.copytree(notes / "home", copy)
    return copy


def pages_of(home: Path, way=None) -> TestClient:
    """Return a browser on the pages of a home, which people enter by signing in unless `way` says otherwise."""
    app = create_app(home, way or SignedIn(home))
    return TestClient(app, follow_redirects=False, client=("127.0.0.1", 50000), raise_server_exceptions=False)


def sign_in(client: TestClient, home: Path, name: str) -> TestClient:
    """Sign a person in: the cookie of the browser names the session."""
    client.cookies.set("pg_session", Home.open(home).sign_in(name, password_of(name)).token)
    return client


def password_of(name: str) -> str:
    return "correct horse 1" if name == "ann" else f"correct horse {name}"


def csrf_of(client: TestClient) -> str:
    """Return the token that the forms of this person hold."""
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/feeds/notes/queue?by=none").text).group(1)


@pytest.fixture(scope="session")
def read_only(notes) -> TestClient:
    """Return the pages of the home for tests that change nothing, entered by one person."""
    return pages_of(notes / "home", OneName("ann"))
