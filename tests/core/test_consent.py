"""Is a word of consent one only when it is the whole text, however it is written?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.consent import LONGEST, WORDS, Word, keyword

EVERY = [(spelling, word) for words in WORDS.values() for word, spellings in words.items() for spelling in spellings]


@pytest.mark.parametrize(("spelling", "word"), EVERY)
def test_every_word_means_what_its_table_says(spelling: str, word: Word) -> None:
    assert keyword(spelling) is keyword(spelling.lower()) is keyword(f" {spelling.title()}.\n") is word


def test_no_word_means_two_things() -> None:
    for spelling, word in EVERY:
        assert {other for same, other in EVERY if same == spelling} == {word}


FCC = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
"""47 CFR 64.1200(a)(10)"""


@pytest.mark.parametrize("text", [*FCC, "STOPALL", "stop all", "Opt-Out", "optout"])
def test_what_counts_by_definition(text: str) -> None:
    assert keyword(text) is Word.STOP


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Stop!!!", Word.STOP),
        ("«Arrêt»", Word.STOP),
        ("ARRET", Word.STOP),
        ("arre\u0302t", Word.STOP),
        ("STOP \n ALL", Word.STOP),
        ("Opt\u2011out", Word.STOP),
        ("\uff33\uff34\uff2f\uff30", Word.STOP),
        ("\u200bstop\ufe0f", Word.STOP),
        ("stop \U0001f64f", Word.STOP),
        ('"yes"', Word.START),
        ("Hja\u0308lp?", Word.HELP),
        ("  info  ", Word.HELP),
    ],
)
def test_how_it_is_written_does_not_count(text: str, word: Word) -> None:
    assert keyword(text) is word


@pytest.mark.parametrize(
    "text",
    [
        *("please stop by at nine", "stop it", "do not stop", "stopp all", "STOP 4", "stopping", "nonstop", "s t o p"),
        *("yes please", "yes, no", "the end", "cancel my order", "help me", "end/stop", "", " ", "...", "\U0001f6d1"),
        "stop" + "!" * LONGEST,
    ],
)
def test_a_sentence_is_none(text: str) -> None:
    assert keyword(text) is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.sampled_from([spelling for spelling, _ in EVERY]))
def test_any_text_is_read_and_a_word_beside_it_makes_no_word(text: str, word: str) -> None:
    assert keyword(text) in {None, *Word}
    if any(letter.isalnum() for letter in text):
        assert keyword(f"{word}x{text}") is None
