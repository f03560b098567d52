"""The parts of the README that are printed from the code: python -m tests.readme writes them anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from smsd.cli.main import smsd
from smsd.core import lifecycle
from smsd.listeners.callers import Reach
from smsd.listeners.http.routes import ROUTES
from smsd.listeners.operations import OPERATIONS, Operation
from smsd.providers import sandbox

README = Path(__file__).parents[1] / "README.md"


def diagram() -> str:
    """The state diagram, as Markdown."""
    return f"```mermaid\n{lifecycle.diagram()}```"


def numbers() -> str:
    """The sandbox's magic numbers, as a Markdown table."""
    rows = [f"| `{number}` | {behaviour.says} |" for number, behaviour in sandbox.NUMBERS.items()]
    return "\n".join(["| recipient | what happens |", "|---|---|", *rows])


def operations() -> str:
    """Every operation: its name on the socket, its route, the scope it needs."""
    routes: dict[str, list[str]] = {route.operation.name: [] for route in ROUTES}
    for route in ROUTES:
        routes[route.operation.name].append(f"`{route.method} {route.path}`")
    rows = [
        f"| `{each.name}` | {' · '.join(routes.get(each.name, []))} | {each.scope}{_all(each)} |"
        for each in OPERATIONS.values()
    ]
    return "\n".join(["| `op` on the socket | HTTP | scope |", "|---|---|---|", *rows])


def _all(operation: Operation) -> str:
    return ", no tenant" if operation.reach is Reach.ALL else ""


def commands() -> str:
    """Every command and what it does."""
    rows: list[str] = []
    with click.Context(smsd) as context:
        for name in smsd.list_commands(context):
            command = smsd.get_command(context, name)
            assert command is not None, name
            rows.append(f"| `smsd {name}` | {command.get_short_help_str(120)} |")
    return "\n".join(["| | |", "|---|---|", *rows])


PARTS = {
    "state diagram": diagram,
    "sandbox numbers": numbers,
    "operations": operations,
    "commands": commands,
}


def part(text: str, name: str) -> re.Match[str]:
    """The text between the comment that begins with `name` and the next end mark."""
    found = re.search(rf"(<!-- {re.escape(name)}[^>]*-->\n)(.*?)(\n?<!-- end -->)", text, re.DOTALL)
    assert found is not None, f"README.md has no part {name!r}"
    return found


def code(text: str, name: str) -> str:
    """The code block inside a marked part."""
    found = re.search(r"```\w*\n(.*?)```", part(text, name)[2], re.DOTALL)
    assert found is not None, f"the part {name!r} of README.md holds no code"
    return found[1]


def renewed(text: str) -> str:
    """The README with every printed part as the code says now."""
    for name, make in PARTS.items():
        found = part(text, name)
        text = text[: found.start(2)] + make() + "\n" + text[found.end(2) :].lstrip("\n")
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
    sys.exit(0)
