"""`poison-guard serve`: the review queue, gate and dashboard as pages, and the same as JSON."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common_options
from poison_guard.cli.output import print_progress
from poison_guard.errors import MissingExtraError, UsageError

__all__ = ["serve_command"]


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8470, show_default=True, help="Port to listen on.")
@click.option("--proxy-header", metavar="HEADER", help="Header in which a proxy in front names who is signed in.")
@click.option("--proxy-network", multiple=True, metavar="NETWORK", help="Network of that proxy; may be given again.")
@click.option("--proxy-roles", metavar="HEADER", help="Header in which the proxy gives roles, with commas between.")
@click.option(
    "--proxy-role",
    type=click.Choice(["viewer", "reviewer", "admin"]),
    default="viewer",
    show_default=True,
    help="Role of everybody the proxy names, without --proxy-roles.",
)
@click.option("--as", "one_name", metavar="NAME", help="Without users: one person of this name, on this machine alone.")
@click.option("--root-path", default="", metavar="PATH", help="Path below which a proxy shows the pages.")
@common_options
def serve_command(host: str, port: int, root_path: str, home: Path, as_json: bool, **entrance: Any) -> None:
    """Show queue, records, campaigns, sources, gate and models as pages, until Ctrl+C.

    People sign in as `users add` made them; or a proxy names them; or one person works --as NAME on this machine.
    """
    try:
        from poison_guard.web.app import create_app, serve
    except ImportError:
        raise MissingExtraError.of("FastAPI", "web") from None
    way = _way_of(home, host, **entrance)
    app = create_app(home, way)
    print_progress(f"pages of {home} on http://{host}:{port}{root_path}/ ; Ctrl+C ends it")
    serve(app, host=host, port=port, root_path=root_path)


def _way_of(
    home: Path,
    host: str,
    *,
    proxy_header: str | None,
    proxy_network: tuple[str, ...],
    proxy_roles: str | None,
    proxy_role: str,
    one_name: str | None,
) -> Any:
    from poison_guard.guard import Home
    from poison_guard.web.people import OneName, ProxyWay, SignedIn

    if proxy_header:
        return ProxyWay(proxy_header, proxy_network, role=proxy_role, roles_header=proxy_roles)
    if proxy_network or proxy_roles:
        raise UsageError("a proxy's network or roles need --proxy-header, the header in which it names people")
    users = Home.open(home).users().users
    if one_name:
        if users:
            raise UsageError("this home has users: they sign in; leave out --as")
        if not _is_loopback(host):
            raise UsageError(f"--as lets everybody in who reaches the server: listen on 127.0.0.1, not on {host}")
        return OneName(one_name)
    if not users:
        raise UsageError(
            "this home has no users: `poison-guard users add --first NAME` makes the first admin, or work alone with "
            "`poison-guard serve --as NAME`"
        )
    return SignedIn(home)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
