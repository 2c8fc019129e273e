"""Requests made up from the API's own document: never an internal error, with a store and without one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.web.people import OneName
from tests.integration.web.conftest import csrf_of, pages_of
from tests.thorough import examples

_TEXTS = st.sampled_from(
    ["", "r1", "notes", "\x00", "\ud7ff", "%", "1e309", "' OR 1=1 --", "../x", "9" * 40, "release"]
)
_WRONG: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), _TEXTS, st.lists(_TEXTS, max_size=2)
)


def values(schema: dict[str, Any], parts: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema describes, and now and then one that it does not."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        good = st.one_of(*(values(each, parts) for each in schema["anyOf"]))
    elif "enum" in schema or "const" in schema:
        good = st.sampled_from(schema.get("enum", [schema.get("const")]))
    else:
        match schema.get("type"):
            case "integer":
                good = st.integers(-2, 2**63)
            case "boolean":
                good = st.booleans()
            case "array":
                good = st.lists(values(schema.get("items", {}), parts), max_size=2)
            case "object" if "properties" in schema:
                needed = set(schema.get("required", ()))
                each = {name: values(one, parts) for name, one in schema["properties"].items()}
                good = st.fixed_dictionaries(
                    {name: one for name, one in each.items() if name in needed},
                    optional={name: one for name, one in each.items() if name not in needed},
                )
            case "object":
                good = st.dictionaries(_TEXTS, _TEXTS, max_size=2)
            case "null":
                good = st.none()
            case _:
                good = _TEXTS
    return st.one_of(good, good, good, _WRONG)


@st.composite
def requests(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """Return the method, address, query and body of one request."""
    path = draw(st.sampled_from(sorted(document["paths"])))
    method, operation = draw(st.sampled_from(sorted(document["paths"][path].items())))
    parts = document["components"]["schemas"]
    query: dict[str, Any] = {}
    for each in operation.get("parameters", ()):
        value = draw(values(each["schema"], parts))
        if each["in"] == "path":
            given_path = "notes" if each["name"] == "feed" else str(value).replace("/", "-").replace("\x00", "-") or "x"
            path = path.replace(f"{{{each['name']}}}", given_path)
        elif value is not None and draw(st.booleans()):
            query[each["name"]] = value
    request: dict[str, Any] = {"method": method.upper(), "url": path, "params": query}
    if "requestBody" in operation:
        request["json"] = draw(values(operation["requestBody"]["content"]["application/json"]["schema"], parts))
    return request


@pytest.mark.parametrize("stored", [True, False], ids=["with a store", "without a store"])
def test_no_request_that_the_document_allows_ends_in_an_internal_error(home, stored):
    client = pages_of(home, OneName("ann"))
    document = client.get("/api/openapi.json").json()
    headers = {"x-csrf-token": csrf_of(client), "sec-fetch-site": "same-origin"}
    if not stored:
        (home / "store.db").rename(home / "away.db")

    @settings(max_examples=examples(20), deadline=None, suppress_health_check=[*HealthCheck])
    @given(requests(document))
    def ask(request: dict[str, Any]) -> None:
        answer = client.request(**request, headers=headers)
        worst = 499 if stored else 503
        assert answer.status_code <= worst, (request, answer.text)
        assert answer.status_code not in (500, 501, 502), (request, answer.text)

    ask()
