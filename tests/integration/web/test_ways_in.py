"""Who comes in: by a proxy's header, by signing in, or alone on this machine; and who does not."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from poison_guard.errors import ConfigError
from poison_guard.guard import Home
from poison_guard.web.app import create_app
from poison_guard.web.people import OneName, ProxyWay
from tests.integration.web.conftest import csrf_of, pages_of, password_of, sign_in

_QUEUE = "/feeds/notes/queue"


def through(home, way, address):
    return TestClient(create_app(home, way), follow_redirects=False, client=(address, 1), raise_server_exceptions=False)


def test_a_proxy_names_people_only_from_its_own_network(notes):
    way = ProxyWay("X-User", ["10.0.0.0/8", "fd00::/8"], role="reviewer")
    header = {"X-User": "carl"}
    assert through(notes / "home", way, "10.1.2.3").get(_QUEUE, headers=header).status_code == 200
    assert through(notes / "home", way, "fd00::1").get(_QUEUE, headers=header).status_code == 200
    assert through(notes / "home", way, "192.0.2.7").get(_QUEUE, headers=header).status_code == 401
    forged = {**header, "X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
    assert through(notes / "home", way, "192.0.2.7").get(_QUEUE, headers=forged).status_code == 401
    assert through(notes / "home", way, "10.1.2.3").get(_QUEUE).status_code == 401
    twice = [("X-User", "carl"), ("X-User", "admin")]
    assert through(notes / "home", way, "10.1.2.3").get(_QUEUE, headers=twice).status_code == 401


def test_the_roles_of_a_proxy_come_from_its_header(notes):
    way = ProxyWay("X-User", ["10.0.0.1/32"], roles_header="X-Groups")
    client = through(notes / "home", way, "10.0.0.1")
    assert client.get(_QUEUE, headers={"X-User": "carl"}).status_code == 403
    assert client.get(_QUEUE, headers={"X-User": "carl", "X-Groups": "staff, viewer"}).status_code == 200


@pytest.mark.parametrize(("networks", "role"), [([], "viewer"), (["everywhere"], "viewer"), (["10.0.0.0/8"], "king")])
def test_a_trusted_header_needs_its_networks_and_a_role_that_exists(networks, role):
    with pytest.raises(ConfigError):
        ProxyWay("X-User", networks, role=role)


def test_one_person_alone_is_reached_from_this_machine_only(notes):
    assert through(notes / "home", OneName("ann"), "127.0.0.1").get(_QUEUE).status_code == 200
    assert through(notes / "home", OneName("ann"), "192.0.2.7").get(_QUEUE).status_code == 401


def test_who_signs_in_gets_a_cookie_that_scripts_and_other_sites_cannot_use(notes):
    client = pages_of(notes / "home")
    answer = client.post("/login", data={"name": "val", "password": password_of("val"), "after": _QUEUE})
    assert (answer.status_code, answer.headers["location"]) == (303, _QUEUE)
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
    assert client.get(_QUEUE).status_code == 200
    out = client.post("/logout", data={"csrf": csrf_of(client)})
    assert out.headers["location"] == "/login"
    assert client.get(_QUEUE).status_code == 303


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/\\evil.example", "/\n/evil", "javascript:1"]
)
def test_signing_in_leads_to_no_other_site(notes, after):
    answer = pages_of(notes / "home").post(
        "/login", data={"name": "val", "password": password_of("val"), "after": after}
    )
    assert answer.headers["location"] == "/"


def test_a_wrong_password_opens_nothing_and_many_are_slowed_down(home):
    client = pages_of(home)
    for _ in range(12):
        answer = client.post("/login", data={"name": "val", "password": "wrong"})
        assert answer.status_code == 401
    answer = client.post("/login", data={"name": "val", "password": password_of("val")})
    assert answer.status_code == 401
    assert "too many" in answer.text


def test_a_sign_in_from_another_site_is_refused(notes):
    data = {"name": "val", "password": password_of("val")}
    answer = pages_of(notes / "home").post("/login", data=data, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_a_person_who_is_disabled_is_out_at_once(home):
    client = sign_in(pages_of(home), home, "rob")
    token = csrf_of(client)
    admin = Home.open(home).sign_in("ann", password_of("ann"))
    Home.open(home).change_user("rob", by=admin.person, disabled=True)
    assert client.get(_QUEUE).status_code == 303
    answer = client.post(
        "/feeds/notes/decide", data={"csrf": token, "verb": "release", "reason": "x", "source_id": "u1"}
    )
    assert answer.headers["location"] == "/login"
    assert Home.open(home).status("notes").feeds[0].places["accepted"] == 0


def test_a_program_comes_with_a_token_and_needs_no_token_of_a_page(home):
    token = Home.open(home).sign_in("rob", password_of("rob"), via="token").token
    headers = {"authorization": f"Bearer {token}"}
    client = pages_of(home)
    answer = client.get("/api/v1/feeds/notes/queue?size=1", headers=headers)
    entry = answer.json()["entries"][0]
    body = {"verb": "reject", "reason": "by a program", "expected": {entry["record_id"]: entry["version"]}}
    done = client.post("/api/v1/feeds/notes/decide", headers=headers, json=body).json()
    assert done.get("records") == 1, done
    last = client.get("/api/v1/feeds/notes/decided?limit=1", headers=headers).json()["entries"][0]
    assert (last["actor"], last["via"]) == ("rob", "token")
    assert client.get("/api/v1/feeds", headers={"authorization": "Bearer wrong"}).status_code == 401
