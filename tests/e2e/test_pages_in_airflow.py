"""The pages inside Airflow: its sign-in, its roles by DAG, the whole route table for nobody, a viewer, another site."""

from __future__ import annotations

import re
import warnings

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")
pytest.importorskip("argon2", reason="the extra [web] is not installed")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from poison_guard import Guard
from poison_guard.web.people import Role
from tests.integration.web.conftest import notes  # noqa: F401  the feed of hostile notes
from tests.integration.web.test_access import table

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore::Warning")]  # Airflow's own
_AT = "/poison-guard"


@pytest.fixture(scope="module")
def airflow(notes, airflow_database):  # noqa: F811
    """Return what signs a user of a role in, and the app that Airflow mounts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.api_fastapi.app import create_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        from poison_guard.airflow.plugin import AirflowWay, PoisonGuardPlugin
        from poison_guard.web.app import create_app

        manager = create_auth_manager()
        manager.init()
    (mounted,) = PoisonGuardPlugin.fastapi_apps
    outer = FastAPI()
    outer.mount(mounted["url_prefix"], create_app(notes / "home", AirflowWay()))

    def client_of(role: str | None) -> TestClient:
        client = TestClient(outer, follow_redirects=False, raise_server_exceptions=False)
        if role is not None:
            client.cookies.set("_token", manager.generate_jwt(SimpleAuthManagerUser(username=role, role=role)))
        return client

    return client_of


def csrf_of(client) -> dict[str, str]:
    page = client.get(f"{_AT}/feeds/notes/queue?by=none").text
    return {"x-csrf-token": re.search(r'name="csrf" value="([0-9a-f]{64})"', page).group(1)}


def test_nobody_is_let_in_and_a_viewer_changes_nothing_on_any_route(airflow, notes):  # noqa: F811
    nobody, viewer = airflow(None), airflow("viewer")
    headers = csrf_of(viewer)
    rows = [row for row in table(notes) if row[1] != "/logout"]
    for method, path, role in rows:
        assert nobody.request(method, f"{_AT}{path}").status_code == 401, path
        if role > Role.VIEWER:
            answer = viewer.request(method, f"{_AT}{path}", headers=headers)
            assert (answer.status_code, "has not the role" in answer.text) == (403, True), path


def test_another_site_changes_nothing_on_any_route(airflow, notes):  # noqa: F811
    admin = airflow("admin")
    headers = {**csrf_of(admin), "sec-fetch-site": "cross-site"}
    for method, path, _ in table(notes):
        if method != "GET" and path != "/logout":
            assert admin.request(method, f"{_AT}{path}", headers=headers).status_code == 403, path


def test_who_may_answer_the_dags_questions_decides_under_the_name_airflow_knows(airflow, notes):  # noqa: F811
    op = airflow("op")
    page = op.get(f"{_AT}/feeds/notes/queue?by=none").text
    assert f'href="{_AT}/static/base.css"' in page
    assert op.get(f"{_AT}/static/guard.js").status_code == 200
    pick = re.search(r'name="pick" value="(\d+:r\d+)"', page).group(1)
    form = {"verb": "reject", "reason": "forged", "pick": pick, "back": f"{_AT}/feeds/notes/queue?by=none"}
    answer = op.post(f"{_AT}/feeds/notes/decide", data=form, headers=csrf_of(op))
    assert answer.headers["location"].startswith(f"{_AT}/feeds/notes/queue?by=none&event=")
    last = Guard.open("notes", home=notes / "home").decided(limit=1).entries.iloc[0]
    assert (last["actor"], last["via"]) == ("op", "airflow")


def test_a_dag_leads_to_its_feed(airflow):
    viewer = airflow("viewer")
    for dag_id, page in (("guard_notes", "queue"), ("retrain_notes", "gate")):
        assert viewer.get(f"{_AT}/dag?dag_id={dag_id}").headers["location"] == f"{_AT}/feeds/notes/{page}"
