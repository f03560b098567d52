"""Does this text say that a person wants no more texts, wants them again, or wants help?

Such a text is one word (or a fixed pair) and nothing else: "STOP" is one, "please stop by at nine" is none, and nothing
here guesses at what a sentence means. It refuses to know what follows from a word, to whom it was sent, and in which
language its writer writes: people answer in any, so all languages are looked at at once.

The words are data, by language. English ones are those of the CTIA and of 47 CFR 64.1200(a)(10), which lists what
counts by definition since April 2025. Of other languages only words stand here that carriers' codes or operators ask
for: a word too few is a person who must say it again, and can say STOP, which holds everywhere; a word too many in
START would take back what somebody asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Word(StrEnum):
    """What such a text asks for."""

    STOP = "stop"
    """No more texts."""
    START = "start"
    """Texts again, after a STOP."""
    HELP = "help"
    """Who sends this, and how does one stop it?"""


WORDS: Final[Mapping[str, Mapping[Word, tuple[str, ...]]]] = {
    "en": {
        Word.STOP: (
            *("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE"),
            *("OPTOUT", "OPT OUT", "OPT-OUT"),
        ),
        Word.START: ("START", "YES", "UNSTOP"),
        Word.HELP: ("HELP", "INFO"),
    },
    "de": {Word.STOP: ("STOPP", "ABMELDEN"), Word.HELP: ("HILFE",)},
    "es": {
        Word.STOP: ("ALTO", "BAJA", "PARAR", "CANCELAR", "SALIR"),
        Word.START: ("ALTA",),
        Word.HELP: ("AYUDA",),
    },
    "fr": {Word.STOP: ("ARRÊT",), Word.HELP: ("AIDE", "CONTACT")},
    "it": {Word.STOP: ("BASTA",), Word.HELP: ("AIUTO",)},
    "nl": {Word.STOP: ("AFMELDEN",), Word.HELP: ("HULP",)},
    "no": {Word.STOP: ("STOPP",), Word.HELP: ("HJELP",)},
    "pl": {Word.HELP: ("POMOC",)},
    "pt": {Word.STOP: ("SAIR", "PARAR", "CANCELAR"), Word.HELP: ("AJUDA",)},
    "sv": {Word.STOP: ("STOPP",), Word.HELP: ("HJÄLP",)},
}
"""By language (ISO 639-1), as a person would write them; those of `en` are understood everywhere."""

LONGEST: Final = 64
"""Characters of a text that may be such a word with all that stands around it; a longer one is a sentence."""

_AROUND: Final = re.compile(r"^[\W_]+|[\W_]+$")
_BETWEEN: Final = re.compile(r"[\s\-\u2010-\u2015]+")
"""Blanks, hyphens and dashes: a phone's keyboard makes one of the other."""


def keyword(text: str) -> Word | None:
    """What the whole text asks for; None: it is none of the words.

    Case, accents, blanks and whatever is neither letter nor digit around the word do not count; inside, a run of blanks
    and hyphens is one blank.
    """
    return _MEANINGS.get(_folded(text)) if len(text) <= LONGEST else None


def _folded(text: str) -> str:
    """As it is compared: compatibility forms resolved (a full-width STOP is one), marks taken off the letters."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return _BETWEEN.sub(" ", _AROUND.sub("", bare))


_MEANINGS: Final[Mapping[str, Word]] = {
    _folded(spelling): word
    for of_language in WORDS.values()
    for word, spellings in of_language.items()
    for spelling in spellings
}
