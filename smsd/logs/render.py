"""In what form is a line written?

Three forms: JSON for programs, coloured text for a person, the journal's native datagrams. Each makes bytes from a
level, a time, an event and fields that were made safe before. It refuses to know what may be said and where it goes.

No form writes a repr of a value it does not know, because a repr could hold a text. What no form can encode (a lone
surrogate, a list that holds itself) is replaced by `encodable`: who logs an odd value must not lose the line, let alone
meet an exception.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import structlog

from smsd.core.events import Kind
from smsd.logs.redaction import Fields, stamp

LINE_BYTES: Final = 16_384
"""A longer line is cut; only a traceback can be one."""
EVENT_NAMESPACE: Final = uuid.UUID("6a4c9a76-4f0f-5e0b-9a55-7d3d0c1c2f11")
"""MESSAGE_ID of an event kind is uuid5 of its name in this namespace; it never changes."""

Render = Callable[[str, int, str, Fields], bytes]
"""(level, time in ms, event, fields already made safe) -> one line or datagram."""

_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as systemd.journal-fields(7) wants them."""


def _encode_unknown(value: object) -> str:
    """Anything JSON has no form for. Only its kind: a repr could hold a text or a secret."""
    return str(value) if isinstance(value, Path) else f"<{type(value).__name__}>"


_encoder = msgspec.json.Encoder(enc_hook=_encode_unknown)


def encodable(value: object) -> str | int | float:
    """What stands for a value that could not be encoded: a text with `?` for what is no character, else its kind."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return value if isinstance(value, int | float) else f"<{type(value).__name__}>"


def render_json(level: str, at: int, event: str, fields: Fields) -> bytes:
    """One JSON object and a line break."""
    line = _encoder.encode({"time": stamp(at), "level": level, "event": event, **fields})
    return (line if len(line) < LINE_BYTES else _shorter(level, at, event, fields)) + b"\n"


def _shorter(level: str, at: int, event: str, fields: Fields) -> bytes:
    """A line that would be too long, with its long texts cut; still valid JSON."""
    limit = LINE_BYTES // (8 * (len(fields) + 1))
    cut = {key: value if isinstance(value, int) else str(value)[:limit] for key, value in list(fields.items())[:64]}
    return _encoder.encode({"time": stamp(at), "level": level, "event": event[:limit], **cut, "cut": True})


class ConsoleRender:
    """Lines for a person; local time to the millisecond."""

    def __init__(self, colours: bool) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )

    def __call__(self, level: str, at: int, event: str, fields: Fields) -> bytes:
        when = datetime.fromtimestamp(at / 1_000).astimezone().isoformat(sep=" ", timespec="milliseconds")[11:23]
        plain = {key: value if isinstance(value, str | int | float) else _plain(value) for key, value in fields.items()}
        line = {"timestamp": when, "level": level, "event": event, **plain}
        return self._renderer(None, level, line).encode(errors="replace")[:LINE_BYTES] + b"\n"


def render_journal(level: str, at: int, event: str, fields: Fields) -> bytes:
    """One datagram of the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    MESSAGE is the line a person reads; SMSD_EVENT, SMSD_ID, SMSD_PROVIDER and so on are what `journalctl` selects by.
    The journal takes its own time; ours is SMSD_TIME.
    """
    texts = {key: value if type(value) is str else _plain(value) for key, value in fields.items()}
    exception = texts.pop("exception", "")
    message = " ".join([event, *[f"{key}={text}" for key, text in texts.items()]])
    lines = [
        f"MESSAGE={message}\n{exception}" if exception else f"MESSAGE={message}",
        _JOURNAL_HEADS[level],
        f"SMSD_EVENT={event}",
        f"SMSD_TIME={stamp(at)}",
        *[f"{_journal_name(key)}={text}" for key, text in texts.items()],
    ]
    if (message_id := MESSAGE_IDS.get(event)) is not None:
        lines.append(f"MESSAGE_ID={message_id}")
    datagram = "\n".join(lines)
    if datagram.count("\n") != len(lines) or len(datagram) > LINE_BYTES:
        return b"".join(map(_journal_field, lines))
    return datagram.encode(errors="replace") + b"\n"


_JOURNAL_HEADS: Final[Mapping[str, str]] = {
    level: f"PRIORITY={priority}\nSYSLOG_IDENTIFIER=smsd" for level, priority in _PRIORITIES.items()
}
"""Two fields that no value can break, in one piece."""

MESSAGE_IDS: Final[Mapping[str, str]] = {kind.value: uuid.uuid5(EVENT_NAMESPACE, kind.value).hex for kind in Kind}
"""One id per event kind, for `journalctl MESSAGE_ID=...`."""


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float | Path) else _encoder.encode(value).decode()


@lru_cache(maxsize=256)
def _journal_name(key: str) -> str:
    return "SMSD_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:56]


def _journal_field(line: str) -> bytes:
    """`NAME=value`, or the binary form with a length for a value with line breaks; a long value is cut."""
    if line in _JOURNAL_HEADS.values():
        return line.encode() + b"\n"
    name, _, value = line.partition("=")
    raw = value.encode(errors="replace")[:LINE_BYTES]
    if b"\n" not in raw:
        return b"%s=%s\n" % (name.encode(), raw)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(raw)), raw)
