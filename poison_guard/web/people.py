"""Who acts: the person behind a request, what they may do with a feed, and the ways by which they come in."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from poison_guard.errors import ConfigError, SignInError
from poison_guard.guard import Home
from poison_guard.records import Person

__all__ = ["OneName", "ProxyWay", "Role", "SignedIn", "Visitor", "Way", "roles_of"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Role(IntEnum):
    """What a person may do with a feed; each includes those before it."""

    NOBODY = 0
    VIEWER = 1
    """Sees everything but private columns."""
    REVIEWER = 2
    """Decides, approves, blocks sources, shows private columns."""
    ADMIN = 3
    """Also changes the champion."""

    @classmethod
    def named(cls, name: str) -> Role:
        """Return the role of a name; ``NOBODY`` for one that is none."""
        return cls.__members__.get(str(name).upper(), cls.NOBODY)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who acts in a request."""

    name: str
    via: str
    """``session``, ``token``, ``proxy``, ``airflow`` or ``unverified``: kept with each decision."""
    role_in: Callable[[str], Role] = field(repr=False, compare=False)
    """The role in a feed; of ``""`` the highest that the person has in any."""
    secret: str = field(default="", repr=False)
    """What the person's CSRF token is bound to, beside the name: the session."""
    ambient: bool = True
    """Whether the browser sends the credential by itself, so that a foreign page could use it."""

    @property
    def by(self) -> Person:
        """The name as the verbs take it."""
        return Person(self.name, self.via)


class Way(Protocol):
    """A way by which people come in."""

    login: bool
    """Whether the pages have a form to sign in by."""

    async def person(self, request: Request) -> Visitor | None:
        """Return who sent a request; None for nobody that is known."""
        ...


class ProxyWay:
    """People whom a proxy in front has signed in: it names them in a header.

    Only requests from its networks may name anybody; whoever reaches the server another way is nobody. The roles come
    from a second header, or are one for all.
    """

    login = False

    def __init__(
        self, header: str, networks: Sequence[str], *, role: str = "viewer", roles_header: str | None = None
    ) -> None:
        if not networks:
            raise ConfigError(
                "a trusted header needs the networks of the proxy that sets it: --proxy-network 10.0.0.0/8"
            )
        if role.upper() not in Role.__members__:
            raise ConfigError(f"a role is viewer, reviewer or admin, got {role!r}")
        self._header, self._roles_header, self._role = header, roles_header, Role.named(role)
        self._networks = tuple(_network(text) for text in networks)

    async def person(self, request: Request) -> Visitor | None:
        """Return whom the proxy names; None where somebody else sent the request, or the header is there twice."""
        names = request.headers.getlist(self._header)
        if len(names) != 1 or not names[0].strip() or not self._is_proxy(request):
            return None
        role = self._role_of(request)
        return Visitor(names[0].strip()[:200], "proxy", lambda _feed: role)

    def _is_proxy(self, request: Request) -> bool:
        try:
            address = ipaddress.ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def _role_of(self, request: Request) -> Role:
        if self._roles_header is None:
            return self._role
        given = ",".join(request.headers.getlist(self._roles_header)).split(",")
        return max((Role.named(name.strip()) for name in given), default=Role.NOBODY)


class SignedIn:
    """People of the home (``poison-guard users``), by the cookie of a sign-in or the bearer token of a program."""

    login = True
    cookie = "pg_session"

    def __init__(self, home: str | Path) -> None:
        self.home = Home.open(home)

    async def person(self, request: Request) -> Visitor | None:
        """Return who is signed in; None for an ended session, or a person who was disabled meanwhile."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        is_program = kind.lower() == "bearer"
        token = given.strip() if is_program else request.cookies.get(self.cookie, "")
        if not token:
            return None
        try:
            session = await run_in_threadpool(self.home.session, token)
        except SignInError:
            return None
        secret = hashlib.sha256(token.encode()).hexdigest()
        return Visitor(session.name, session.via, roles_of(session.roles), secret, ambient=not is_program)


class OneName:
    """One person without a sign-in, on this machine alone: for a home that has no users.

    What they decide is stored as unverified.
    """

    login = False

    def __init__(self, name: str) -> None:
        self._name = name

    async def person(self, request: Request) -> Visitor | None:
        """Return the one person; None for a request from another machine."""
        host = request.client.host if request.client else ""
        local = host in ("127.0.0.1", "::1", "testclient")
        return Visitor(self._name, "unverified", lambda _feed: Role.ADMIN) if local else None


def roles_of(roles: Mapping[str, Any]) -> Callable[[str], Role]:
    """Return what says the role in a feed, from feed (``*``: every feed) to role."""

    def role_in(feed: str) -> Role:
        if not feed:
            return max(map(Role.named, roles.values()), default=Role.NOBODY)
        return max(Role.named(roles.get(feed, "")), Role.named(roles.get("*", "")))

    return role_in


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None
