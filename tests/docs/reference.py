"""Make ``docs/reference.md`` from the code: ``python -m tests.docs.reference`` writes it, a test compares."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import click

import poison_guard
from poison_guard import errors, guard, home, reviewing, stages
from poison_guard.cli import cli
from poison_guard.config import columns, contract, data, settings
from poison_guard.frames import FRAMES, Column
from poison_guard.review import rules

ROOT = Path(poison_guard.__file__).parent
PAGE = ROOT.parent / "docs" / "reference.md"
FILTERED = "poison-guard review list"
HEAD = """# Reference

<!-- Made from the code by `python -m tests.docs.reference`; a test compares. Change the code, then run it. -->

[Commands](#commands) · [Exit codes](#exit-codes) · [Python](#python) · [Feed contract](#feed-contract) ·
[Settings](#settings-of-a-home) · [Environment](#environment) · [Frames](#frames)
"""
ENVIRONMENT = {
    "POISON_GUARD_HOME": "home of every command, of the DAGs and of the operators (`--home` comes first)",
    "POISON_GUARD_FEEDS": "folder of the contracts that the DAGs are made of (default: `feeds` beside `dags`)",
    "POISON_GUARD_STORE": "SQLAlchemy URL of the store; the only place for a URL with a password",
    "POISON_GUARD_LAKE": "path or fsspec URL of the lake",
    "POISON_GUARD_DEVICE": "`auto`, `cpu` or `cuda`",
    "POISON_GUARD_THREADS": "torch threads of one process",
    "POISON_GUARD_ENGINE": "who scores the parts of a batch: `local`, `airflow` or `ray`",
    "POISON_GUARD_WORKERS": "processes that the engine `local` scores in",
    "POISON_GUARD_LOG": "`json`: what goes to stderr is lines of JSON, as with `--log json`",
    "POISON_GUARD_METRICS": "file (`….prom`) that runs bring up to date for Prometheus's textfile collector",
    "POISON_GUARD_LINEAGE": "URL of an OpenLineage server, or file of its events",
    "POISON_GUARD_KEY": "the key that hashes identities in the audit chain: at least 64 hexadecimal digits",
    "POISON_GUARD_KEY_FILE": "file of that key (mode 0600)",
    "POISON_GUARD_SIGNING_KEY": "the key that signs admissions: PEM, or the 32-byte seed in base64",
    "POISON_GUARD_SIGNING_KEY_FILE": "file of that key (mode 0600)",
    "POISON_GUARD_SOURCE_URL": "database URL of a contract's `query`; `url_env` in `[data]` names another variable",
    "POISON_GUARD_OUT_URL": "database URL of the table in `[out]`; `url_env` there names another variable",
    "POISON_GUARD_TOKENS": "folder of the tokens that `login` keeps (default: `~/.config/poison-guard`)",
    "POISON_GUARD_PAGES": "address that people open the pages at, for links in messages and listings",
    "POISON_GUARD_WEBHOOK": "URL that signed messages about campaigns, gates and old queues are sent to",
    "POISON_GUARD_DATA": "folder of public data for drills and benchmarks",
    "POISON_GUARD_CHECK_FRAMES": "if set, every frame between two stages is checked against the list below",
}
SHARED = ("--home", "--json", "--debug", "--help")


def page() -> str:
    """Return the whole page."""
    parts = (HEAD, commands(), exit_codes(), python(), contract_keys(), settings_keys(), environment(), frames())
    return "\n".join(parts).rstrip() + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *[tuple(cell.replace("|", "\\|") or " " for cell in row) for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- commands and exit codes -------------------------------------------------------------------------------------------


def commands() -> str:
    """Return every command with its arguments and options."""
    parts = [
        "## Commands\n",
        "Every command takes `--home DIR` (default `guard-home`), `--json`, `--debug` and `--help`, unless it says\n"
        "otherwise. `--feed` is a contract file or its name. Data goes to stdout, progress to stderr.\n",
    ]
    for path, command in walk(cli, "poison-guard"):
        usage = " ".join(["poison-guard", *path.split()[1:], *command.collect_usage_pieces(click.Context(command))])
        parts.append(f"### `{usage}`\n\n{prose(command.help)}\n")
        own = [param for param in command.params if not set(param.opts) & set(SHARED)]
        filters = [] if path == FILTERED else [param for param in own if str(param.name).startswith("filter_")]
        options = [row(param) for param in own if param not in filters]
        if filters:
            options.append(("`--kind` to `--state`", f"The filters of `{FILTERED}`."))
        if options:
            parts.append(table(("option", "what"), options))
        missing = [name for name in SHARED[:2] if not any(name in param.opts for param in command.params)]
        if missing:
            parts.append(f"Without {' and '.join(f'`{name}`' for name in missing)}.\n")
    return "\n".join(parts)


def walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the path and the command of every command that does something by itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def row(param: click.Parameter) -> tuple[str, str]:
    """Return how a parameter is typed, and what it does."""
    if isinstance(param, click.Argument):
        return f"`{param.make_metavar(click.Context(click.Command('x')))}`", "argument"
    assert isinstance(param, click.Option)
    typed = ", ".join([*param.opts, *param.secondary_opts])
    ranged = isinstance(param.type, click.IntRange | click.FloatRange)
    if not param.is_flag and not param.count:
        typed += (
            " N" if ranged and param.metavar is None else f" {param.make_metavar(click.Context(click.Command('x')))}"
        )
    facts = [
        *(["required"] if param.required else []),
        *([spelled(param.type)] if ranged else []),
        *(["may be repeated"] if param.multiple else []),
        *([f"default {param.default}"] if shows_default(param) else []),
    ]
    return f"`{typed}`", prose(param.help) + (f" ({'; '.join(facts)})" if facts else "")


def spelled(kind: click.ParamType) -> str:
    """Return a range of numbers in words."""
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    above = getattr(kind, "min_open", False)
    whole = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    if high is None:
        return f"{whole} {'above' if above else 'of at least'} {low}"
    return f"{whole} in {'(' if above else '['}{low}, {high}]"


def shows_default(param: click.Option) -> bool:
    return (
        bool(param.default)
        and isinstance(param.default, int | float | str)
        and not isinstance(param.default, bool)
        and not param.is_flag
    )


def exit_codes() -> str:
    """Return the exit codes and the errors that lead to them."""
    meanings = {
        0: "fine, or admitted",
        1: "findings, or closed",
        2: "wrong usage or configuration, or another person acted first",
        3: "inconclusive",
        4: "store or internal error",
    }
    tree = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.GuardError)]
    rows = [
        (str(code), meaning, ", ".join(f"`{each.__name__}`" for each in tree if each.exit_code == code))
        for code, meaning in meanings.items()
    ]
    rows.append(("130", "interrupted; run the same command again to go on", ""))
    return "## Exit codes\n\n" + table(("code", "meaning", "errors of Python that end with it"), rows)


def prose(text: str | None) -> str:
    """Return a help text in one line a paragraph, without what click reads as layout."""
    paragraphs = inspect.cleandoc(text or "").replace("\b\n", "").split("\n\n")
    return "\n\n".join(re.sub(r"\s+", " ", each).replace("``", "`").replace("<", "&lt;") for each in paragraphs)


# -- Python ------------------------------------------------------------------------------------------------------------


def python() -> str:
    """Return the verbs of the door, each with its signature."""
    parts = [
        "## Python\n",
        "`from poison_guard import …`. A verb returns a frozen value with `to_dict()`, a readable `str` and\n"
        "`_repr_html_()`; every error derives from `GuardError`.\n",
    ]
    for owner in (guard.Guard, reviewing.Reviewing, stages.Stages, home.Home):
        rows = [verb(name, method) for name, method in vars(owner).items() if is_verb(name, method)]
        parts.append(f"### `{owner.__name__}`\n\n{first_line(owner)}\n\n{table(('verb', 'what'), rows)}")
    functions = [verb(name, value) for name, value in vars(home).items() if name in ("propose", "verify")]
    parts.append(f"### Functions\n\n{table(('function', 'what'), functions)}")
    return "\n".join(parts)


def is_verb(name: str, method: Any) -> bool:
    return not name.startswith("_") and (inspect.isfunction(method) or isinstance(method, classmethod))


def verb(name: str, method: Any) -> tuple[str, str]:
    """Return the call of a verb, without annotations, and the first line of its docstring."""
    function = method.__func__ if isinstance(method, classmethod) else method
    given = [each for each in inspect.signature(function).parameters.values() if each.name not in ("self", "cls")]
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in given if each.name != "which"]
    if len(parameters) < len(given):
        which = [name for name in rules.Which.__annotations__ if name != "observed" or function.__name__ == "recall"]
        parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in which]
    call = str(inspect.Signature(parameters)) if inspect.isfunction(function) else "(…)"
    return f"`{name}{call}`", first_line(function)


def first_line(documented: Any) -> str:
    return prose((inspect.getdoc(documented) or "").split("\n\n")[0])


# -- contract and settings ---------------------------------------------------------------------------------------------


def contract_keys() -> str:
    """Return the keys of a contract, table by table."""
    parts = [
        "## Feed contract\n",
        "A TOML file, `feeds/NAME.toml`. Unknown keys are errors that name the nearest known one. Relative paths are\n"
        "looked for beside the contract, then in the home.\n",
        f"### The top level\n\n{keys(contract._Top, skip=TABLES)}",
    ]
    for name, (shape, what) in TABLES.items():
        body = roles() if name == "columns" else keys(shape)
        parts.append(f"### `[{name}]`\n\n{what}\n\n{body}")
    return "\n".join(parts)


TABLES: dict[str, tuple[Any, str]] = {
    "data": (data.Data, "Where records come from, and the bounds they are read under."),
    "parse": (contract.Parse, "How cells are read where they alone do not say; `init` proposes it with its evidence."),
    "columns": (columns.Columns, "The role of each column. The roles present decide which signals run."),
    "items": (contract._Items, "What the items are, one row each, for training: `item_id` and one of the keys below."),
    "controls": (contract._Controls, "Items whose answer is known: `item_id`, `answer`."),
    "outcomes": (contract._Outcomes, "What turned out later about records; read with every run."),
    "policy": (contract.Policy, "Thresholds of the decisions; stored whole by hash."),
    "gate": (contract.GatePolicy, "Limits of the [gate](gate.md); stored whole by hash."),
    "retrain": (contract.RetrainConfig, "Settings of a training; without a key, what the model and the data call for."),
    "privacy": (contract.Privacy, "Columns with personal data ([export.md](export.md#personal-columns))."),
    "out": (contract.Out, "Where decisions are written ([export.md](export.md#decisions-beside-your-own-data))."),
}


def roles() -> str:
    """Return the list of roles."""
    listed = ", ".join(f"`{role}`" for role in columns.ROLES)
    return f'`role = "your column"`, each at most once: {listed}; and `features = ["a", "b"]`.\n'


def keys(shape: type, *, skip: Any = ()) -> str:
    """Return the keys of a dataclass that a TOML table is read into: type, range, default and docstring."""
    hints, docs = get_type_hints(shape, include_extras=True), attribute_docs(shape)
    rows = [
        (f"`{field.name}`", typed(hints[field.name]), default_of(field), prose(docs.get(field.name)))
        for field in dataclasses.fields(shape)
        if field.name not in skip
    ]
    return table(("key", "value", "default", "what"), rows)


def typed(hint: Any) -> str:
    """Return type and range of a key in words."""
    inner = [each for each in get_args(hint) if each is not NoneType]
    hint = inner[0] if NoneType in get_args(hint) else hint
    kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "table"}
    if isinstance(kind, type) and issubclass(kind, contract.StrEnum):
        return "one of " + ", ".join(f"`{each.value}`" for each in kind)
    rule = rules[0] if rules else None
    if get_origin(kind) is tuple:
        names = rule.names if rule else ()
        return f"list of {', '.join(f'`{name}`' for name in names) or (rule.phrase if rule else 'texts')}"
    phrase = f", {rule.phrase.removeprefix('str, and ')}" if rule else ""
    return f"{words.get(get_origin(kind) or kind, 'text')}{phrase}"


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    match field.default:
        case None | ():
            return "–"
        case bool():
            return f"`{str(field.default).lower()}`"
        case str():
            return f"`{field.default}`" if field.default else "none"
        case tuple():
            return ", ".join(f"`{each}`" for each in field.default)
        case _:
            return f"{field.default:,}" if isinstance(field.default, int) else f"{field.default:g}"


def attribute_docs(shape: type) -> dict[str, str]:
    """Return the docstrings written below the fields of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(shape))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = text
    return docs


def settings_keys() -> str:
    """Return the keys of ``settings.toml``."""
    return "\n".join(
        (
            "## Settings of a home\n",
            "`settings.toml` in the home; an environment variable of the same name comes first. Settings never enter\n"
            "a policy's hash.\n",
            keys(settings._SettingsFile),
        )
    )


def environment() -> str:
    """Return the environment variables."""
    return "## Environment\n\n" + table(
        ("variable", "what"), [(f"`{name}`", what) for name, what in ENVIRONMENT.items()]
    )


# -- frames ------------------------------------------------------------------------------------------------------------


def frames() -> str:
    """Return the columns of every frame that goes from one room to another."""
    parts = [
        "## Frames\n",
        "The columns of every frame that goes from one room to another (`poison_guard/frames.py`). Marks: *id* names\n"
        "something, *private* may show a person, *from feed* is text that a sender wrote.\n",
    ]
    for name, frame in FRAMES.items():
        cells = [f"`{key}` {spelled_dtype(column.dtype)}{marks(column)}" for key, column in frame.columns.items()]
        cells += [f"`{begin}…` {dtype}" if begin else "further columns" for begin, dtype in frame.prefixes.items()]
        listed = textwrap.fill("; ".join(cells) + ".", 120, break_long_words=False, break_on_hyphens=False)
        parts.append(f"### `{name}`\n\nA row is {frame.row}.\n\n{listed}\n")
    return "\n".join(parts)


def spelled_dtype(dtype: str) -> str:
    return {"datetime64[us, UTC]": "time (UTC)"}.get(dtype, dtype)


def marks(column: Column) -> str:
    words = [mark.replace("_", " ") for mark in sorted(column.marks)]
    listed = ", ".join([*words, *(["may be absent"] if column.optional else [])])
    return f" (*{listed}*)" if listed else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
