"""Where does a value stand that is not in the file, and how is a secret kept from being shown?

`{env = "NAME"}`, `{file = "PATH"}` and `{credential = "NAME"}` are looked up here, when the file is read and never
later: a daemon must not find out at three in the morning that a secret is gone. A secret's value is never part of an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECRET_BYTES: Final = 65_536
"""Longest secret file; a longer one is surely the wrong file."""

_SOURCES: Final = ("env", "file", "credential")


class Secret:
    """A value that must not be shown: repr and str are ***."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one who needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Masked:
    """A value of which only a part is shown. Compared as a whole; its repr has the part alone."""

    value: object = field(repr=False)
    shown: object


class Sources:
    """Where values that do not stand in the file come from."""

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self._environ = environ
        self._directory = directory

    def fetch(self, reference: Mapping[str, object]) -> str:
        """The text that `{env = ...}`, `{file = ...}` or `{credential = ...}` points to; ValueError with a remedy."""
        (source, name), *more = reference.items() or [("", None)]
        if more or source not in _SOURCES or not isinstance(name, str) or not name:
            raise ValueError('is a table; write a text, {env = "NAME"}, {file = "PATH"} or {credential = "NAME"}')
        match source:
            case "env":
                return self._from_environment(name)
            case "file":
                return _read_secret(self._directory / name)
            case _:
                return self._from_credentials(name)

    def _from_environment(self, name: str) -> str:
        value = self._environ.get(name)
        if not value:
            state = "is not set" if value is None else "is empty"
            raise ValueError(f"environment variable {name} {state}; set it for the daemon's process")
        return value

    def _from_credentials(self, name: str) -> str:
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if "/" in name:
            raise ValueError("a credential is a name without slashes; use {file = ...} for a path")
        if not directory:
            raise ValueError(
                f"$CREDENTIALS_DIRECTORY is not set; run under systemd with LoadCredential={name}:PATH, or use {{env}}"
            )
        return _read_secret(Path(directory) / name)


def _read_secret(path: Path) -> str:
    """The file's text without its last line break; ValueError when it cannot be a secret."""
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"cannot read {path} ({error.strerror}); check the path and the daemon user's rights"
        ) from None
    if len(raw) > SECRET_BYTES:
        raise ValueError(f"{path} is longer than {SECRET_BYTES} bytes; that is no secret")
    try:
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"{path} is empty; write the secret into it")
    return text
