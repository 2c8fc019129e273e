"""Every route asks who comes: the whole route table for nobody, a viewer, another site, and a page without a token."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from poison_guard.web.app import OPEN, create_app, refuse_open_routes
from poison_guard.web.desk import role_of
from poison_guard.web.people import Role, SignedIn
from tests.integration.web.conftest import csrf_of, pages_of, sign_in

_FILLED = {"feed": "notes", "job_id": "j-1", "act": "cancel", "kind": "csv"}


def table(notes):
    """Every route that is not open, as (method, path, role)."""
    app = create_app(notes / "home", SignedIn(notes / "home"))
    routes = [route for route in app.routes if getattr(route, "path", "") not in OPEN]
    return [(min(route.methods - {"HEAD"}), route.path.format(**_FILLED), role_of(route)) for route in routes]


def test_the_table_is_the_whole_app(notes):
    found = table(notes)
    assert len(found) > 50
    assert {role for _, _, role in found} == {Role.VIEWER, Role.REVIEWER, Role.ADMIN}


def test_nobody_sees_or_changes_anything(notes):
    client = pages_of(notes / "home")
    for method, path, _ in table(notes):
        answer = client.request(method, path)
        to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
        assert answer.status_code == 401 or to_login, path
        assert "r0" not in answer.text


def test_a_viewer_changes_nothing(notes):
    client = sign_in(pages_of(notes / "home"), notes / "home", "val")
    headers = {"x-csrf-token": csrf_of(client), "sec-fetch-site": "same-origin"}
    for method, path, role in table(notes):
        if role > Role.VIEWER:
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, "has not the role" in answer.text) == (403, True), path


_ELSEWHERE = (
    ({"sec-fetch-site": "cross-site"}, "another site"),
    ({"sec-fetch-site": "same-site"}, "another site"),
    ({"sec-fetch-site": "none"}, "another site"),
    ({"origin": "https://evil.example"}, "another site"),
    ({"origin": "null"}, "another site"),
    ({"sec-fetch-site": "same-origin", "x-csrf-token": "0" * 64}, "reload it"),
    ({"x-csrf-token": ""}, "reload it"),
)


def test_a_write_from_elsewhere_changes_nothing(notes):
    client = sign_in(pages_of(notes / "home"), notes / "home", "ann")
    token = {"x-csrf-token": csrf_of(client)}
    for k, (method, path, _) in enumerate(row for row in table(notes) if row[0] != "GET"):
        for headers, said in _ELSEWHERE if k == 0 else _ELSEWHERE[:1] + _ELSEWHERE[-1:]:
            answer = client.request(method, path, headers={**token, **headers})
            assert (answer.status_code, said in answer.text) == (403, True), (path, headers)


def test_a_route_that_asks_for_no_role_keeps_the_app_from_starting():
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/peek")(lambda: "secret")
    with pytest.raises(RuntimeError, match="/peek asks for no role"):
        refuse_open_routes(app)


def test_every_answer_has_the_policy_and_is_kept_nowhere(read_only):
    for path in ("/", "/feeds/notes/queue", "/no-such-page", "/api/v1/feeds", "/healthz"):
        headers = read_only.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_feed_is_never_taken_for_a_file(read_only):
    for feed in ("..", "%2e%2e%2fnotes", "notes.toml", "in.jsonl", "a" * 300, "%00", "nofeed"):
        assert read_only.get(f"/feeds/{feed}/queue").status_code == 404
