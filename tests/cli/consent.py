"""The topic `consent` (smsd help consent), printed from the words in core: python -m tests.cli.consent writes it anew.

The commands may not import core, so they read a text.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from smsd.cli.help import TOPICS
from smsd.core.consent import WORDS, Word

FILE = TOPICS / "consent.txt"
WIDTH = 78

HEAD = """\
Words by which people stop texts, and ask for them again

A text that is one of these words and nothing else asks for what stands above
it. Case, accents, blanks and signs around it do not count: "Stop." and "ARRET"
are words, "please stop by at nine" is none. Words of all languages count
wherever they come from.
"""

MEANS = {
    Word.STOP: "no more texts",
    Word.START: "texts again, after a stop",
    Word.HELP: "who sends this, and how it is stopped",
}

TAIL = """\
The English ones are those of the CTIA and of 47 CFR 64.1200(a)(10).

What smsd does when such a text comes in, and what it answers: smsd help inbound
Where a provider takes none for you, the next answer OPTED_OUT tells of a STOP.
For what an operator hears otherwise: smsd suppress add NUMBER (smsd help
suppression).
"""


def document() -> str:
    """The whole topic."""
    return "\n".join([HEAD, *("\n".join(_table(word)) + "\n" for word in Word), TAIL])


def _table(word: Word) -> Iterator[str]:
    yield f"{word.upper()}: {MEANS[word]}"
    for language, words in WORDS.items():
        if word in words:
            told = f"  {language}  {', '.join(words[word])}"
            yield textwrap.fill(told, WIDTH, subsequent_indent=" " * 6)


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{FILE} written\n")
