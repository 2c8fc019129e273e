"""The app: its routes, the pages of its errors, and the check that no route is open by oversight."""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from poison_guard.config import open_settings
from poison_guard.errors import BusyError, ClosedError, ConfigError, GuardError, NotFoundError, StoreError, UsageError
from poison_guard.guard import Home, keep_open
from poison_guard.text import visible
from poison_guard.web import acts, api, lists, metrics, pages, signin
from poison_guard.web.desk import Desk, role_of
from poison_guard.web.escaping import pages_environment
from poison_guard.web.people import Way
from poison_guard.web.safety import SafeHeaders, page_secret

__all__ = ["OPEN", "create_app", "serve"]

OPEN = frozenset({"/login", "/healthz", "/static"})
"""Paths that need no person."""
_STATUS = ((NotFoundError, 404), (BusyError, 409), (ClosedError, 409), (ConfigError, 503), (UsageError, 400))
_log = logging.getLogger(__name__)


def create_app(home: str | Path, way: Way) -> FastAPI:
    """Return the app of a home, which people enter by `way`."""
    app = FastAPI(title="poison_guard", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    settings = open_settings(home)
    keep_open(Home(settings))
    app.state.desk = Desk(settings.home, way, page_secret(settings.key_file))
    for router in (pages.routes, lists.routes, acts.routes, api.routes, metrics.routes):
        app.include_router(router)
    app.include_router(signin.routes if way.login else signin.health)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_middleware(SafeHeaders)
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _unreadable)  # type: ignore[arg-type]
    app.add_exception_handler(GuardError, _failed)  # type: ignore[arg-type]
    app.add_exception_handler(OSError, _broken)
    app.add_exception_handler(Exception, _broken)
    refuse_open_routes(app)
    return app


def serve(app: FastAPI, *, host: str, port: int, root_path: str = "") -> None:
    """Serve the app until the process is interrupted; headers of a proxy never change who a request is from."""
    import uvicorn

    how = {"log_level": "warning", "proxy_headers": False, "server_header": False}
    uvicorn.run(app, host=host, port=port, root_path=root_path, **how)  # type: ignore[arg-type]


def refuse_open_routes(app: FastAPI) -> None:
    """Raise for a route that asks nobody who they are, those of `OPEN` apart: a forgotten check never opens a page."""
    for route in app.routes:
        if role_of(route) is None and getattr(route, "path", "") not in OPEN:
            raise RuntimeError(f"the route {getattr(route, 'path', route)} asks for no role")


async def _refused(request: Request, error: HTTPException) -> Response:
    wants_page = not request.url.path.removeprefix(request.scope.get("root_path", "")).startswith(("/api/", "/metrics"))
    if error.status_code == 401 and wants_page and request.app.state.desk.way.login:
        root = request.scope.get("root_path", "")
        asked = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        after = {"after": asked} if request.method == "GET" else {}
        return RedirectResponse(f"{root}/login" + (f"?{urlencode(after)}" if after else ""), 303)
    return answer_error(request, error.status_code, str(error.detail))


async def _unreadable(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ())[1:])
    return answer_error(request, 400, f"{where or 'the request'}: {first.get('msg', 'cannot be read')}")


async def _failed(request: Request, error: GuardError) -> Response:
    if isinstance(error, NotFoundError) and "no store" in str(error):
        return answer_error(request, 503, str(error))
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 503)
    if isinstance(error, StoreError):
        _log.warning("the store cannot be used: %s", visible(error))
    return answer_error(request, status, str(error))


async def _broken(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        return answer_error(request, 503, f"a file cannot be read or written: {error.strerror or 'the disk failed'}")
    _log.error("internal error", exc_info=error)
    return answer_error(request, 500, "internal error; the server's log says where")


def answer_error(request: Request, status: int, message: str) -> Response:
    """Return what went wrong in a sentence: as JSON where a program asked, else as a page."""
    text = visible(message, limit=1000)
    root = request.scope.get("root_path", "")
    if request.url.path.removeprefix(root).startswith(("/api/", "/metrics")):
        return JSONResponse({"error": text}, status)
    values: dict[str, Any] = {"status": status, "title": _TITLES.get(status, HTTPStatus(status).phrase)}
    page = pages_environment().get_template("error.html.j2")
    wrote = request.method not in ("GET", "HEAD")
    back = _page_before(request) if wrote else ""
    return HTMLResponse(page.render(**values, message=text, root=root, wrote=wrote, back=back), status)


def _page_before(request: Request) -> str:
    """Return the address of the page of this app that a form was sent from; empty where the browser does not say."""
    said = urlsplit(request.headers.get("referer", ""))
    if said.netloc != request.headers.get("host") or said.path.startswith("//"):
        return ""
    return said.path + (f"?{said.query}" if said.query else "")


_TITLES = {
    400: "That cannot be done as asked",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    409: "Somebody was faster",
    503: "The store cannot be reached",
}
