"""How long is a text on the air, and how is it made to fit?

A text travels in the GSM 7-bit default alphabet with its extension table (3GPP TS 23.038, section 6.2.1) or, if one
character is outside both, in UCS-2 (UTF-16 units). One segment holds 160 septets or 70 units; parts of a longer text
hold 153 or 67, and neither an escape pair nor a surrogate pair is split between parts. National shift tables are not
used. It refuses to know a provider's own transliteration; what is counted here is what is handed over.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from smsd.core.message import Encoding

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""One septet each."""

GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
"""Two septets each: an escape and the character."""

SINGLE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
"""Septets or UTF-16 units in a text of one segment."""

PART = {Encoding.GSM7: 153, Encoding.UCS2: 67}
"""Septets or UTF-16 units in each part of a longer text."""

ELLIPSIS = "..."

_GSM = GSM_BASIC | GSM_EXTENSION
_ASCII_BASIC = bytes(sorted(ord(c) for c in GSM_BASIC if c.isascii()))
_ASCII_EXTENSION = bytes(sorted(ord(c) for c in GSM_EXTENSION if c.isascii()))
_EXTENSION_RUN = re.compile(r"[\f^{}\\\[~\]|€]")
_NOT_GSM = re.compile("[^" + re.escape("".join(sorted(_GSM))) + "]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")

TYPOGRAPHIC = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u02bc\u02b9\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u02ba", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043", "-"),
        **dict.fromkeys(
            "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
        ),
        **dict.fromkeys("\u200b\u2060\ufeff\u00ad", ""),
        "\u2026": "...",
        "\u2022": "-",
        "\u2044": "/",
        "\u2028": "\n",
        "\u2029": "\n",
    }
)
"""Typographic characters and what a typewriter would have put there: quotes, dashes, spaces, dots. Letters with accents
are not here: to change a letter may change a word. After the list of Twilio's Smart Encoding."""


class Measure(NamedTuple):
    """The size of a text on the air."""

    encoding: Encoding
    length: int
    """Septets (GSM-7) or UTF-16 units (UCS-2)."""
    segments: int
    """At least 1, also for the empty text."""


def measure(text: str) -> Measure:
    """The encoding a text needs and its size in it. Lone surrogates count as one unit."""
    count = len(text)
    if text.isascii():
        # Deleting from bytes is thirty times as fast as asking a set about every character.
        rest = text.encode().translate(None, _ASCII_BASIC)
        if not rest:
            return _single_width(Encoding.GSM7, count)
        if rest.translate(None, _ASCII_EXTENSION):
            return _single_width(Encoding.UCS2, count)
        return _double_width(Encoding.GSM7, text, count + len(rest), _EXTENSION_RUN)
    if _NOT_GSM.search(text) is None:
        doubles = len(_EXTENSION_RUN.findall(text))
        if not doubles:
            return _single_width(Encoding.GSM7, count)
        return _double_width(Encoding.GSM7, text, count + doubles, _EXTENSION_RUN)
    doubles = len(_ASTRAL.findall(text))
    if not doubles:
        return _single_width(Encoding.UCS2, count)
    return _double_width(Encoding.UCS2, text, count + doubles, _ASTRAL)


def _single_width(encoding: Encoding, length: int) -> Measure:
    if length <= SINGLE[encoding]:
        return Measure(encoding, length, 1)
    return Measure(encoding, length, -(-length // PART[encoding]))


_SECOND_HALF = "\U0010ffff"
_HALVES = "x" + _SECOND_HALF


def _double_width(encoding: Encoding, text: str, length: int, double: re.Pattern[str]) -> Measure:
    """Parts are filled in order; one that has a single place left cannot take a character of two."""
    if length <= SINGLE[encoding]:
        return Measure(encoding, length, 1)
    # One character per unit; no other _SECOND_HALF can be there, for characters beyond U+FFFF are themselves of two.
    units = double.sub(_HALVES, text)
    at, segments = 0, 0
    while at < length:
        segments += 1
        at += PART[encoding]
        if at < length and units[at] == _SECOND_HALF:
            at -= 1
    return Measure(encoding, length, segments)


def fits(size: Measure, max_length: int, max_segments: int) -> bool:
    """Whether a text of this size keeps within both; 0: no such limit."""
    return not (0 < max_length < size.length or 0 < max_segments < size.segments)


def truncate(text: str, max_length: int, max_segments: int) -> str:
    """The longest beginning of the text that fits with `...` put after it (without, where not even that has room).

    `max_length` in septets or UTF-16 units of the result, `max_segments` of the result; 0: no such limit. The text is
    returned as it is when it fits. No character is cut in two: a base keeps its marks, an emoji its joiners and tones,
    an escape or surrogate pair its halves. The empty string: not even the first character fits.
    """
    if fits(measure(text), max_length, max_segments):
        return text
    # No character takes less than one unit, so what lies behind this cannot fit.
    text = text[: min(filter(None, (max_length, max_segments * SINGLE[Encoding.GSM7])), default=0) + 1]
    stranger = _NOT_GSM.search(text)
    first = stranger.start() if stranger else len(text)
    for tail in (ELLIPSIS, ""):
        # Within one encoding a longer beginning is never smaller, so each encoding is searched by halves; the one that
        # takes in the first character outside GSM comes first because it keeps more of the text.
        for low, high in ((first + 1, len(text)), (1, first)):
            end = _longest(text, low, high, tail, max_length, max_segments)
            end = _whole(text, end)
            if end and fits(measure(text[:end] + tail), max_length, max_segments):
                return text[:end] + tail
    return ""


def _longest(text: str, low: int, high: int, tail: str, max_length: int, max_segments: int) -> int:
    """The greatest end in [low, high] at which `text[:end] + tail` fits; 0: none."""
    best = 0
    while low <= high:
        middle = (low + high) // 2
        if fits(measure(text[:middle] + tail), max_length, max_segments):
            best, low = middle, middle + 1
        else:
            high = middle - 1
    return best


_CLINGS = re.compile("[\u200d\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""Joiner, enclosing marks, variation selectors, skin tones, tags of flags."""
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]+\\Z")
_MAX_CLUSTER = 32
"""Code points; a longer pile of marks is nothing a person would call a character, and is cut."""


def _whole(text: str, end: int) -> int:
    """`end`, or the nearest place before it where no character as a person sees it is cut in two; 0: none."""
    for back in range(min(_MAX_CLUSTER, end)):
        if not _splits(text, end - back):
            return end - back
    return end if end > _MAX_CLUSTER else 0


def _splits(text: str, at: int) -> bool:
    """Whether what stands at `at` belongs to the character before it. (UAX 29, without its rules for Hangul jamo.)"""
    if at >= len(text):
        return False
    after, before = text[at], text[at - 1]
    if before == "\u200d" or _CLINGS.match(after) is not None or _is_mark(after):
        return True
    if (before, after) == ("\r", "\n"):
        return True
    if _FLAG.match(after) is None:
        return False
    flags = _FLAG.search(text, max(0, at - 2 * _MAX_CLUSTER), at)
    return flags is not None and (flags.end() - flags.start()) % 2 == 1


def _is_mark(char: str) -> bool:
    """Whether it is a combining mark: what may stand inside an identifier, not at its start, and is no digit."""
    return char > "\u02ff" and not char.isalnum() and not char.isidentifier() and ("a" + char).isidentifier()


def plain(text: str) -> str:
    """The text with typographic characters replaced by GSM ones if that saves segments; else the text as it is."""
    if _NOT_GSM.search(text) is None:
        return text
    replaced = text.translate(TYPOGRAPHIC)
    return replaced if measure(replaced).segments < measure(text).segments else text
