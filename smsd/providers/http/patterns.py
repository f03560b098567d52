"""Which regular expressions may a configuration search answers with?

A regular expression is the operator's, and Python's can take for ever, which would stop the whole daemon. So only the
first SEARCHED characters of a body are searched, a pattern has at most MAX_PATTERN characters, and one that repeats
what already varies ("(a+)+", "(a|ab)*") or anything at all more than once (".*a.*b") is refused. That catches the
usual traps, not every one: a pattern belongs to those who may stop the daemon anyway.

The pattern is read piece by piece here, because Python's own parser of patterns is private to it.
"""

from __future__ import annotations

import re

from smsd.providers.base import Response

SEARCHED = 4_096
MAX_PATTERN = 200

_PIECE = re.compile(
    r"(?P<open>\(\??)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<repeat>[*+?]|\{(?P<low>[0-9]*)(?P<comma>,?)(?P<high>[0-9]*)\})[?+]?"
    r"|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.",
    re.DOTALL,
)
_UNBOUNDED = 1 << 32


def pattern(key: str, text: object) -> re.Pattern[str]:
    """A regular expression, compiled. Raises ValueError, naming the key."""
    if not isinstance(text, str) or not text:
        raise ValueError(f"{key}: must be a regular expression in quotes")
    if len(text) > MAX_PATTERN:
        raise ValueError(f"{key}: has more than {MAX_PATTERN} characters; look for less")
    try:
        found = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{key}: is no regular expression ({error}); mend it") from None
    if found.flags & re.VERBOSE:
        raise ValueError(f"{key}: has spaces and comments of its own; write it without (?x)")
    if _repeats_what_varies(text):
        raise ValueError(
            f"{key}: repeats a group that holds a repetition or alternatives, which can take for ever; "
            "write it without (...+)+ and (...|...)+"
        )
    if _repeats_anything_twice(text):
        raise ValueError(f'{key}: repeats "." more than once, which can take minutes; write a class such as [^,]*')
    return found


def words_of(response: Response) -> str:
    """What patterns are searched in."""
    return response.body[: 4 * SEARCHED].decode("utf-8", "replace")[:SEARCHED]


def _repeats_what_varies(text: str) -> bool:
    """Whether a group that can match in more than one way is itself repeated."""
    varies, last = [False], False
    for piece in _PIECE.finditer(text):
        closed = False
        if piece["open"]:
            varies.append(False)
        elif piece["close"]:
            closed = varies.pop()
            varies[-1] |= closed
        elif piece["or"]:
            varies[-1] = True
        elif span := _span(piece):
            if last and span[1] > 1:
                return True
            varies[-1] |= span[0] != span[1]
        last = closed
    return False


def _repeats_anything_twice(text: str) -> bool:
    seen, before = 0, ""
    for piece in _PIECE.finditer(text):
        span = _span(piece)
        seen += before == "." and span is not None and span[1] == _UNBOUNDED
        before = piece[0]
    return seen > 1


def _span(piece: re.Match[str]) -> tuple[int, int] | None:
    """How often a quantifier lets what stands before it be: at least and at most; None: it is no quantifier."""
    sign = (piece["repeat"] or "")[:1]
    if sign in {"*", "+", "?"}:
        return int(sign == "+"), 1 if sign == "?" else _UNBOUNDED
    if not sign or not (piece["low"] or piece["comma"]):
        return None
    low = int(piece["low"] or 0)
    return low, (int(piece["high"]) if piece["high"] else _UNBOUNDED) if piece["comma"] else low
