"""Sign in and out, where the home has people of its own; and the health check."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from poison_guard.errors import GuardError, SignInError
from poison_guard.guard import Home
from poison_guard.web.desk import Desk, Routes, Viewer
from poison_guard.web.escaping import pages_environment
from poison_guard.web.people import SignedIn
from poison_guard.web.safety import is_same_origin

__all__ = ["health", "routes"]

health = APIRouter(include_in_schema=False)
routes = Routes()


@health.get("/healthz")
@routes.get("/healthz", include_in_schema=False)
def healthz(request: Request) -> Response:
    """Say whether the store answers; nothing else is told to who is not signed in."""
    desk: Desk = request.app.state.desk
    try:
        Home.open(desk.home).feeds()
    except GuardError:
        return JSONResponse({"ok": False}, 503)
    return JSONResponse({"ok": True})


@routes.page("/login")
def login_page(request: Request, after: str = "") -> HTMLResponse:
    """Show the form to sign in by."""
    return _form(request, after)


@routes.act("/login")
def login(
    request: Request,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
    after: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Sign in: the cookie is unreadable to scripts, and sent by this site's own pages alone."""
    desk: Desk = request.app.state.desk
    if not is_same_origin(request):
        raise HTTPException(403, "this sign-in came from another site; open the page here and try again")
    try:
        session = Home.open(desk.home).sign_in(name, password)
    except SignInError as error:
        return _form(request, after, str(error), 401)
    root = request.scope.get("root_path", "")
    inside = after.startswith(f"{root}/") and not after.startswith("//") and "\\" not in after and after.isprintable()
    answer = RedirectResponse(after if inside else f"{root}/", 303)
    secure = request.url.scheme == "https"
    how = {"httponly": True, "samesite": "strict", "secure": secure, "path": root or "/"}
    answer.set_cookie(SignedIn.cookie, session.token, max_age=12 * 3600, **how)  # type: ignore[arg-type]
    return answer


@routes.act("/logout")
def logout(visit: Viewer) -> RedirectResponse:
    """End the session."""
    root = visit.request.scope.get("root_path", "")
    Home.open(visit.desk.home).sign_out(visit.request.cookies.get(SignedIn.cookie, ""))
    answer = RedirectResponse(f"{root}/login", 303)
    answer.delete_cookie(SignedIn.cookie, path=root or "/")
    return answer


def _form(request: Request, after: str, fault: str = "", status: int = 200) -> HTMLResponse:
    root = request.scope.get("root_path", "")
    page = pages_environment().get_template("login.html.j2")
    return HTMLResponse(page.render(root=root, after=after[:2000], fault=fault), status)
