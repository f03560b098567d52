"""How does the log speak now?

A Manner holds all that an operator may change while the daemon runs: which levels are said, in which form, what is
masked, and where lines of that form go. It is frozen, and who speaks takes it once for each line; so a change is one
assignment, and no line is half in the old manner and half in the new. It refuses to know who speaks.

What cannot change is the place: the file descriptor the process was given, and whether the journal is behind it. That
is looked at once, at the start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smsd.core.events import LEVELS, Kind, Level
from smsd.logs.redaction import Fields, Redaction
from smsd.logs.render import ConsoleRender, Render, encodable, render_journal, render_json
from smsd.logs.targets import Journal, Stream, Target

RANKS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""Levels with the numbers that the standard library and structlog give them."""


@dataclass(frozen=True, slots=True)
class Manner:
    """One way of speaking."""

    form: str
    """console | json | journal"""
    rank: int
    """Of the lowest level that is said."""
    kinds: Mapping[Kind, str]
    """The level of each kind of event that is said."""
    render: Render
    redaction: Redaction
    target: Target

    def line(self, level: str, at: int, event: str, fields: Fields) -> tuple[Target, bytes]:
        """A line of fields that were made safe, and where it goes. Never raises."""
        try:
            line = self.render(level, at, event, fields)
        except Exception:  # whatever a value raises when it is encoded
            plain = {str(encodable(key)): encodable(value) for key, value in fields.items()}
            line = self.render(level, at, str(encodable(event)), plain)
        return self.target, self.redaction.line(line)


class Place:
    """Where the log was started: a file descriptor, the environment, perhaps the journal."""

    def __init__(self, fd: int, environ: Mapping[str, str], journal: str) -> None:
        self._stream = Stream(fd)
        self._journal = Journal(journal)
        self._terminal = os.isatty(fd)
        self._colours = self._terminal and not environ.get("NO_COLOR")
        self._journaled = _is_journal(fd, environ)
        self.targets: tuple[Target, ...] = (self._stream, self._journal)
        """All that a manner of this place may name."""

    def manner(self, level: str, form: str, *, redact: bool) -> Manner:
        """See logs.start for the values. KeyError for a level that does not exist."""
        rank = RANKS[level]
        chosen = self._form(form)
        levels = {kind: LEVELS.get(kind, Level.INFO).value for kind in Kind}
        return Manner(
            chosen,
            rank,
            {kind: name for kind, name in levels.items() if RANKS[name] >= rank},
            self._render(chosen),
            Redaction(redact),
            self._journal if chosen == "journal" else self._stream,
        )

    def _form(self, form: str) -> str:
        if form != "auto":
            return form
        if self._journaled:
            return "journal"
        return "console" if self._terminal else "json"

    def _render(self, form: str) -> Render:
        match form:
            case "journal":
                return render_journal
            case "console":
                return ConsoleRender(colours=self._colours)
            case _:
                return render_json


def _is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Whether the journal reads this descriptor (systemd.exec(5), $JOURNAL_STREAM: its device and inode)."""
    with contextlib.suppress(OSError):
        about = os.fstat(fd)
        return environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
    return False


class Voice:
    """The manner in which all speak at this moment."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
