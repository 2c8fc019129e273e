"""What keeps a page safe around its content: headers, bounds, and proof that a write came from the page itself."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poison_guard.web.people import Visitor

__all__ = ["POLICY", "SafeHeaders", "check_write", "csrf_token", "is_same_origin", "page_secret"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
"""The content security policy of every page."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MOST_BYTES = 20_000_000
"""Of a request's body: a file of decisions."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class SafeHeaders:
    """Adds the safety headers to every answer, and refuses a body that is too long before it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = _MOST_BYTES

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"a request holds {_MOST_BYTES:,} bytes at most")
            return message

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith(f"{scope.get('root_path', '')}/static/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, bounded, headed)


def page_secret(key_file: Path) -> bytes:
    """Return what CSRF tokens are made with: drawn from the home's key, so that every worker has the same."""
    try:
        key = key_file.read_bytes()
    except OSError:
        key = b""
    return hmac.digest(key or secrets.token_bytes(32), b"poison-guard pages", "sha256")


def csrf_token(secret: bytes, person: Visitor) -> str:
    """Return the token that proves that a form of `person` came from these pages."""
    bound = "\0".join((person.name, person.via, person.secret))
    return hmac.new(secret, bound.encode(), hashlib.sha256).hexdigest()


async def check_write(request: Request, secret: bytes, person: Visitor) -> None:
    """Raise 403 for a write that another site sent, or that shows no token of these pages.

    Who sends a bearer token shows by it that no foreign page made the request.
    """
    if request.method in _SAFE_METHODS:
        return
    if not is_same_origin(request):
        raise HTTPException(403, "this write came from another site; open the page here and try again")
    if not person.ambient:
        return
    given = request.headers.get("x-csrf-token") or await _form_token(request)
    if not hmac.compare_digest(str(given).encode(), csrf_token(secret, person).encode()):
        raise HTTPException(403, "the page was open too long, or you signed in anew: reload it and try again")


def is_same_origin(request: Request) -> bool:
    """Whether a browser says that the request came from this origin; one that says nothing is no browser."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _form_token(request: Request) -> str:
    kind = request.headers.get("content-type", "")
    if not kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        return ""
    form = await request.form(max_files=1, max_fields=20_000)
    return str(form.get("csrf", ""))
