"""Does the tree still tell the truth? Who imports whom, what core may touch, and that no file is two rooms."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "smsd"

CORE_STDLIB = {
    "__future__",
    "array",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "re",
    "types",
    "typing",
    "unicodedata",
    "zoneinfo",
}
"""The short list. What is not on it (time, random, os, asyncio, logging ...) has no place in a decision."""

MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "providers": {"core"},
    "store": {"core"},
    "wire": {"core"},
    "clock": set(),
    "client": set(),
    "engine": {"core", "clock", "providers.base", "store"},
    "listeners": {"core", "wire", "engine", "store", "clock"},
    "cli": {"client"},
    "logs": {"core", "clock"},
    "notify": set(),
    "boot": set(),
    "watch": {"notify", "store"},
    "templates": {"core"},
    "welcome": {"client", "core", "engine"},
    "bench": {"client", "clock"},
}
"""Floor -> floors it may import, beside itself and the package's own name. daemon and config may import all."""

EXEMPT = {"daemon", "assembly", "reloading", "config", "__init__", "__main__"}

LAZY: dict[str, set[str]] = {
    "cli": {"daemon", "config", "bench", "store"},
}
"""Allowed inside a function only: `smsd run` starts the daemon, `smsd restore` has the store put a backup in place. No
other command pays for it."""

THIRD_PARTY: dict[str, set[str]] = {
    "core": {"phonenumbers"},
    "providers": {"msgspec", "jwt", "cryptography", "standardwebhooks"},
    "wire": {"msgspec"},
    "client": set(),
    "cli": {"click", "rich"},
    "templates": {"jinja2"},
}
"""Floors whose third-party imports are listed; phonenumbers in core is for core/address.py alone."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Every imported module, and whether the import stands inside a function."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    inside = {
        id(node)
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                is_module = (ROOT / Path(*module.split("."), alias.name)).with_suffix(".py").exists()
                is_package = (ROOT / Path(*module.split("."), alias.name, "__init__.py")).exists()
                yield f"{module}.{alias.name}" if is_module or is_package else module, id(node) in inside


def is_allowed(floor: str, target: str, *, lazy: bool) -> bool:
    wanted = ".".join(target.split(".")[1:])
    if wanted in {"", "__init__"} or wanted.split(".")[0] == floor:
        return True
    if lazy and wanted.split(".")[0] in LAZY.get(floor, set()):
        return True
    if floor in {"engine", "listeners", "watch"} and wanted.startswith("store."):
        return wanted == "store.operators"  # protocols too: the parts for operators; all else by the front door
    return any(wanted == each or wanted.startswith(each + ".") for each in MAY_IMPORT[floor])


def test_imports_point_downward() -> None:
    for path in modules():
        floor = floor_of(name_of(path))
        if floor in EXEMPT:
            continue
        assert floor in MAY_IMPORT, f"{path.name}: say in MAY_IMPORT which floor this is"
        wrong = [
            target
            for target, lazy in imports(path)
            if target.split(".")[0] == "smsd" and not is_allowed(floor, target, lazy=lazy)
        ]
        assert not wrong, f"{name_of(path)} may not import {wrong}"


def test_the_direction_check_can_fail() -> None:
    assert not is_allowed("core", "smsd.engine.bus", lazy=False)
    assert not is_allowed("engine", "smsd.store.sqlite", lazy=False)
    assert not is_allowed("listeners", "smsd.store.records", lazy=False)
    assert not is_allowed("engine", "smsd.providers.twilio", lazy=False)
    assert not is_allowed("cli", "smsd.daemon", lazy=False)
    assert is_allowed("engine", "smsd.store", lazy=False)


def test_no_import_cycle() -> None:
    graph = {
        name_of(path): {
            target for target, _ in imports(path) if target.split(".")[0] == "smsd" and target != name_of(path)
        }
        for path in modules()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done and name in graph:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def core_modules() -> list[Path]:
    return sorted((PACKAGE / "core").glob("*.py"))


@pytest.mark.parametrize("path", core_modules(), ids=name_of)
def test_core_is_pure(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith), (
            f"{path.name}:{node.lineno} awaits"
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "eval", "exec"}, f"{path.name}:{node.lineno} acts"
        if isinstance(node, ast.Attribute):
            assert (
                node.attr not in {"now", "utcnow", "today"}
                or not isinstance(node.value, ast.Name)
                or (node.value.id not in {"datetime", "date"})
            ), f"{path.name}:{node.lineno} reads a clock"
    for target, _ in imports(path):
        top = target.split(".")[0]
        if top == "phonenumbers":
            assert path.name == "address.py", f"{path.name} imports phonenumbers"
        else:
            assert top == "smsd" or top in CORE_STDLIB, f"{path.name} imports {top}"


@pytest.mark.parametrize("floor", sorted(THIRD_PARTY))
def test_third_party_imports_are_listed(floor: str) -> None:
    for path in modules():
        if floor_of(name_of(path)) == floor:
            for target, _ in imports(path):
                top = target.split(".")[0]
                if top != "smsd" and top not in sys.stdlib_module_names:
                    assert top in THIRD_PARTY[floor], f"{name_of(path)} imports {top}"


def test_only_the_exchange_the_callout_and_the_http_door_know_aiohttp() -> None:
    users = {name_of(path) for path in modules() for target, _ in imports(path) if target.split(".")[0] == "aiohttp"}
    rooms = ("smsd.engine.exchange", "smsd.engine.callout", "smsd.listeners.http.", "smsd.bench.")
    # The log knows it by name only, to make its loggers quiet.
    assert [name for name in users if not name.startswith(rooms)] == []


def test_only_a_configuration_with_templates_pays_for_jinja2() -> None:
    """Its import takes a tenth of a second: one module asks for it, inside a function."""
    users = {
        (name_of(path), lazy)
        for path in modules()
        for target, lazy in imports(path)
        if target.startswith(("jinja2", "smsd.templates")) and not name_of(path).startswith("smsd.templates")
    }
    assert users == {("smsd.config.templates", True)}


def test_every_module_opens_with_what_it_is_for() -> None:
    assert [name_of(path) for path in modules() if not ast.get_docstring(tree(path))] == []


def test_no_function_must_be_scrolled() -> None:
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{name_of(path)}:{node.lineno} {node.name} has {length} lines"


def test_no_module_is_two_rooms() -> None:
    """A module answers one question, and whoever mends it reads all of it first. About 350 lines is as much as one
    question takes; beyond 400 a second one has moved in, with a state of its own: give it a module of its own."""
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_the_package_holds_no_unfinished_word() -> None:
    words = re.compile(r"\b(TODO|FIXME|NotImplementedError)\b|#.*\bXXX\b")  # a currency is named XXX (ISO 4217)
    found = [name_of(path) for path in modules() if words.search(path.read_text())]
    assert not found


def test_the_top_level_is_the_agreed_one() -> None:
    agreed = {
        "smsd",
        "tests",
        "systemd",
        "config.toml.example",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "uv.lock",
        "smsd-dev",
    }
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= agreed, found - agreed
