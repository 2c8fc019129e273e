"""What a request is answered from: the home, who asks, and the feed they ask about."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from poison_guard.guard import Guard, Home
from poison_guard.web.escaping import pages_environment
from poison_guard.web.people import Role, Visitor, Way
from poison_guard.web.safety import check_write, csrf_token

if TYPE_CHECKING:
    from poison_guard.guard import ItemContent, QueueFilter

__all__ = ["Admin", "Desk", "Reviewer", "Routes", "Viewer", "Visit", "needs", "role_of"]

_FEED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_KNOWN_SECONDS, _ITEMS_SECONDS = 5.0, 60.0


@dataclass
class Desk:
    """What all requests share."""

    home: Path
    way: Way
    secret: bytes = field(repr=False)
    _known: tuple[float, tuple[str, ...]] = (0.0, ())
    _items: dict[str, tuple[float, ItemContent]] = field(default_factory=dict)

    def feeds(self, *, fresh: bool = False) -> tuple[str, ...]:
        """Return the names of the home's feeds, as of a few seconds ago unless `fresh`."""
        at, names = self._known
        if fresh or not names or time.monotonic() - at > _KNOWN_SECONDS:
            names = Home.open(self.home).feeds().feeds
            self._known = (time.monotonic(), names)
        return names

    def guard(self, feed: str) -> Guard:
        """Return the guard of a feed that the store knows; 404 for any other name, which is never taken for a path."""
        if not _FEED.fullmatch(feed) or (feed not in self.feeds() and feed not in self.feeds(fresh=True)):
            raise HTTPException(404, f"this home has no feed {feed!r}")
        return Guard.open(feed, home=self.home)

    def items(self, feed: str, guard: Guard) -> ItemContent:
        """Return what the items' file of a feed shows, as of a minute ago: the file is read whole."""
        at, content = self._items.get(feed, (0.0, None))
        if content is None or time.monotonic() - at > _ITEMS_SECONDS:
            content = guard.item_content()
            self._items[feed] = (time.monotonic(), content)
        return content


@dataclass
class Visit:
    """One request of one person, and how it is answered."""

    request: Request
    desk: Desk
    person: Visitor
    feed: str
    """Empty on pages of all feeds."""

    @cached_property
    def guard(self) -> Guard:
        """The guard of the feed."""
        return self.desk.guard(self.feed)

    @property
    def role(self) -> Role:
        """What the person may do with the feed."""
        return self.person.role_in(self.feed)

    def visible_feeds(self) -> list[str]:
        """Return the feeds that the person may see."""
        return [name for name in self.desk.feeds() if self.person.role_in(name) >= Role.VIEWER]

    def url(self, *parts: str, **query: Any) -> str:
        """Return the address of a page, below the prefix under which the app is mounted; empty query values go."""
        said = {name: value for name, value in query.items() if value is not None and value != ""}
        path = "/".join(quote(part, safe="") for part in parts)
        return f"{self.request.scope.get('root_path', '')}/{path}" + (f"?{urlencode(said)}" if said else "")

    def here(self, *parts: str, **query: Any) -> str:
        """Return the address of a page of this feed."""
        return self.url("feeds", self.feed, *parts, **query)

    def filters_of(self, asked: Mapping[str, str]) -> QueueFilter:
        """Return the filter of the queue that parameters spell; `UsageError` names one that is wrong."""
        from poison_guard.guard import QueueFilter

        return QueueFilter.of(asked)

    def page(self, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
        """Return a page."""
        common = {
            "visit": self,
            "url": self.url,
            "here": self.here,
            "person": self.person,
            "may_decide": self.role >= Role.REVIEWER,
            "is_admin": self.role >= Role.ADMIN,
            "feed": self.feed,
            "csrf": csrf_token(self.desk.secret, self.person),
            "login": self.desk.way.login,
            "now": dt.datetime.now(dt.UTC),
        }
        html = pages_environment().get_template(template).render({**common, **values})
        return HTMLResponse(html, status)

    def back(self, to: str) -> RedirectResponse:
        """Send the browser to a page of this app with a GET, so that a reload repeats nothing; `to` comes from a form.

        An address that is none of this app's leads to the queue.
        """
        root = f"{self.request.scope.get('root_path', '')}/"
        inside = to.startswith(root) and not to.startswith("//") and "\\" not in to and to.isprintable()
        return RedirectResponse(to if inside else self.here("queue"), 303)


def needs(role: Role) -> Any:
    """Return the dependency that lets in who has `role` in the feed of the path, and checks where a write came from."""

    async def let_in(request: Request) -> Visit:
        desk: Desk = request.app.state.desk
        person = await desk.way.person(request)
        if person is None:
            raise HTTPException(401, "sign in first")
        await check_write(request, desk.secret, person)
        feed = str(request.path_params.get("feed", ""))
        if person.role_in(feed) < role:
            raise HTTPException(403, f"{person.name} has not the role {role.name.lower()} here")
        return Visit(request, desk, person, feed)

    let_in.role = role  # type: ignore[attr-defined]  # by which `refuse_open_routes` knows it
    return Depends(let_in)


Viewer = Annotated[Visit, needs(Role.VIEWER)]
Reviewer = Annotated[Visit, needs(Role.REVIEWER)]
Admin = Annotated[Visit, needs(Role.ADMIN)]


class Routes(APIRouter):
    """Routes of pages, which the API's document leaves out."""

    def page(self, path: str) -> Callable[..., Any]:
        """Register a function that shows a page."""
        return self.get(path, include_in_schema=False, response_class=HTMLResponse)

    def act(self, path: str) -> Callable[..., Any]:
        """Register a function that a form is sent to."""
        return self.post(path, include_in_schema=False, response_class=RedirectResponse)


def role_of(route: Any) -> Role | None:
    """Return the role that a route asks for; None for one that is open."""
    calls: list[Callable[..., Awaitable[Visit]]] = [
        each.call for each in getattr(getattr(route, "dependant", None), "dependencies", ())
    ]
    return next((call.role for call in calls if hasattr(call, "role")), None)
