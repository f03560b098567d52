"""The parts of the README that are printed from the code: python -m tests.readme writes them anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from smsd.core import lifecycle
from smsd.providers import sandbox

README = Path(__file__).parents[1] / "README.md"


def diagram() -> str:
    """The state diagram, as Markdown."""
    return f"```mermaid\n{lifecycle.diagram()}```"


def numbers() -> str:
    """The sandbox's magic numbers, as a Markdown table."""
    rows = [f"| `{number}` | {behaviour.says} |" for number, behaviour in sandbox.NUMBERS.items()]
    return "\n".join(["| recipient | what happens |", "|---|---|", *rows])


PARTS = {"state diagram": diagram, "sandbox numbers": numbers}


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
