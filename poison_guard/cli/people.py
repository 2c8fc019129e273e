"""`poison-guard users`, `login` and `logout`: who may sign in, and as whom this command line acts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common_options
from poison_guard.cli.output import print_json, print_result, print_table
from poison_guard.cli.signed_in import acting, forget_token, keep_token
from poison_guard.errors import UsageError
from poison_guard.guard import Home

__all__ = ["login_command", "logout_command", "users_command"]

_feed = click.option("--feed", "on", default="*", show_default=True, metavar="NAME", help="Feed of the role; * is all.")
_role = click.Choice(["viewer", "reviewer", "admin"])


@click.group("users")
def users_command() -> None:
    """Manage who may sign in to this home, and what they may do on which feed."""


@users_command.command("add")
@click.argument("name")
@click.option("--role", type=_role, help="What NAME may do. Default with --first: admin.")
@_feed
@click.option("--first", is_flag=True, help="Add the first admin; only while nobody can sign in.")
@common_options
def add_command(name: str, role: str | None, on: str, first: bool, home: Path, as_json: bool) -> None:
    """Add NAME; the password is asked for, or read from stdin. Whoever can write the store can write any name."""
    if role is None and not first:
        raise UsageError("give --role viewer, reviewer or admin")
    by = None if first else acting(home, None, role="admin")
    user = Home.open(home).add_user(name, _password(twice=True), role=role or "admin", feed=on, by=by, first=first)
    print_json(user.to_dict()) if as_json else print_result(f"added {user}")


@users_command.command("list")
@common_options
def list_command(home: Path, as_json: bool) -> None:
    """List who may sign in."""
    found = Home.open(home).users()
    if as_json:
        print_json(found.to_dict())
    else:
        nobody = "nobody signs in to this home: names are as given in --by; `users add NAME --first` begins"
        print_table("People", *found.table(), empty=nobody)


@users_command.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(["viewer", "reviewer", "admin", "none"]))
@_feed
@common_options
def role_command(name: str, role: str, on: str, home: Path, as_json: bool) -> None:
    """Give NAME a ROLE on a feed, or take it away with none; it ends the person's sessions."""
    _print_changed(Home.open(home).change_user(name, by=acting(home, None, role="admin"), feed=on, role=role), as_json)


@users_command.command("disable")
@click.argument("name")
@common_options
def disable_command(name: str, home: Path, as_json: bool) -> None:
    """Let NAME sign in no more; open sessions end at once."""
    _print_changed(Home.open(home).change_user(name, by=acting(home, None, role="admin"), disabled=True), as_json)


@users_command.command("enable")
@click.argument("name")
@common_options
def enable_command(name: str, home: Path, as_json: bool) -> None:
    """Let NAME sign in again."""
    _print_changed(Home.open(home).change_user(name, by=acting(home, None, role="admin"), disabled=False), as_json)


@users_command.command("password")
@click.argument("name")
@common_options
def password_command(name: str, home: Path, as_json: bool) -> None:
    """Set the password of NAME: your own, or as an admin anybody's; it ends the person's sessions."""
    by = acting(home, None, role="viewer")
    _print_changed(Home.open(home).change_user(name, by=by, password=_password(twice=True)), as_json)


@click.command("login")
@click.argument("name")
@common_options
def login_command(name: str, home: Path, as_json: bool) -> None:
    """Sign in as NAME; the token lies in a file of yours (mode 0600) for a week, and commands act in that name."""
    session = Home.open(home).sign_in(name, _password(), via="token")
    keep_token(home, session.token)
    print_json(session.to_dict()) if as_json else print_result(str(session))


@click.command("logout")
@common_options
def logout_command(home: Path, as_json: bool) -> None:
    """Sign out, and remove the token."""
    ended = forget_token(home)
    print_json({"ended": ended}) if as_json else print_result("signed out" if ended else "nobody was signed in")


def _password(*, twice: bool = False) -> str:
    """Ask for a password, or read the first line of stdin where that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _print_changed(user: Any, as_json: bool) -> None:
    print_json(user.to_dict()) if as_json else print_result(str(user))
