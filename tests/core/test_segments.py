"""Counting and cutting, against published vectors and against a counter that walks one unit at a time."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.message import Encoding
from smsd.core.segments import GSM_BASIC, GSM_EXTENSION, TYPOGRAPHIC, Measure, fits, measure, plain, truncate

GSM, UCS = Encoding.GSM7, Encoding.UCS2


def slow(text: str) -> Measure:
    """The same answer, unit by unit."""
    gsm = all(char in GSM_BASIC or char in GSM_EXTENSION for char in text)
    if gsm:
        widths = [2 if char in GSM_EXTENSION else 1 for char in text]
    else:
        widths = [2 if ord(char) > 0xFFFF else 1 for char in text]
    single, part = (160, 153) if gsm else (70, 67)
    encoding = GSM if gsm else UCS
    if sum(widths) <= single:
        return Measure(encoding, sum(widths), 1)
    parts = [0]
    for width in widths:
        if parts[-1] + width > part:
            parts.append(0)
        parts[-1] += width
    return Measure(encoding, sum(widths), len(parts))


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),
        ("", 1),
    ],
)
def test_published_vectors(text: str, segments: int) -> None:
    assert measure(text).segments == segments


def test_the_alphabet_has_its_size() -> None:
    assert len(GSM_BASIC) == 127
    assert len(GSM_EXTENSION) == 10
    assert not GSM_BASIC & GSM_EXTENSION


@pytest.mark.parametrize("char", "`\tçáíóú“”‘’–—…\u00a0\x00\x1b😀")
def test_what_is_not_in_it(char: str) -> None:
    assert measure(char).encoding is UCS


TEXTS = st.one_of(
    st.text(st.sampled_from(sorted(GSM_BASIC | GSM_EXTENSION)), max_size=400),
    st.text(st.sampled_from("ab€{}\n"), max_size=500),
    st.text(st.sampled_from("ab€ж😀"), max_size=300),
    st.text(max_size=200),
    st.builds(
        lambda n, m, c: "a" * n + c + "b" * m, st.integers(0, 470), st.integers(0, 470), st.sampled_from("€ж😀é^")
    ),
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_it_agrees_with_the_slow_counter(text: str) -> None:
    assert measure(text) == slow(text)


def test_cut_to_160_is_157_and_three_dots() -> None:
    assert truncate("x y" * 100, 160, 3) == ("x y" * 100)[:157] + "..."
    assert truncate("a" * 160, 160, 3) == "a" * 160


def test_cut_to_what_fits_the_segments() -> None:
    assert truncate("a" * 500, 0, 3) == "a" * 456 + "..."
    assert truncate("ж" * 500, 0, 1) == "ж" * 67 + "..."


def test_an_escape_pair_and_a_surrogate_pair_stay_whole() -> None:
    assert truncate("€" * 100, 160, 1) == "€" * 78 + "..."
    assert truncate("😀" * 100, 0, 1) == "😀" * 33 + "..."
    assert truncate("😀" * 100, 0, 2) == "😀" * 65 + "..."


def test_what_no_longer_holds_the_stranger_is_counted_anew() -> None:
    assert truncate("a" * 300 + "ж", 160, 1) == "a" * 157 + "..."
    assert truncate("€" * 100 + "ж" * 50, 120, 0) == "€" * 100 + "ж" * 17 + "..."


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",  # e and an acute accent
        "कि",  # a consonant and its vowel sign
        "👨‍👩‍👧",  # joined by U+200D
        "👍🏽",  # a thumb and its tone
        "🇩🇪",  # two halves of a flag
        "1️⃣",  # a digit, a variation selector, an enclosing keycap
        "\r\n",
    ],
)
def test_what_a_person_calls_a_character_stays_whole(cluster: str) -> None:
    for room in range(4, 60):
        text = cluster * 60
        short = truncate(text, room, 1)
        body = short.removesuffix("...")
        assert body or room < 12
        assert body == cluster * (len(body) // len(cluster))


def test_a_heap_of_marks_is_cut_all_the_same() -> None:
    assert truncate("e" + "\u0301" * 500, 70, 1) == "e" + "\u0301" * 66 + "..."


def test_nothing_fits() -> None:
    assert truncate("😀", 1, 1) == ""
    assert truncate("abcdef", 2, 1) == "ab"


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.integers(0, 400), st.integers(0, 4))
def test_a_cut_text_fits_and_is_a_beginning(text: str, max_length: int, max_segments: int) -> None:
    short = truncate(text, max_length, max_segments)
    assert fits(measure(short), max_length, max_segments)
    if fits(slow(text), max_length, max_segments):
        assert short == text
    else:
        assert text.startswith(short.removesuffix("...")) or text.startswith(short)
        if max_length > 4:
            assert short


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab€ж😀"), max_size=200), st.integers(4, 200))
def test_no_longer_beginning_would_fit(text: str, max_length: int) -> None:
    short = truncate(text, max_length, 0)
    if short != text:
        best = max(n for n in range(len(text)) if slow(text[:n] + "...").length <= max_length)
        assert short == text[:best] + "..." or best == 0


def test_typographic_characters_give_way_when_that_saves_segments() -> None:
    text = "“It’s here” – come…\u00a0now" + "a" * 60
    assert plain(text) == '"It\'s here" - come... now' + "a" * 60
    assert measure(plain(text)).segments == 1
    assert plain("“short”") == "“short”"
    assert plain("“" + "ж" * 70) == "“" + "ж" * 70
    assert plain("a" * 500) == "a" * 500


def test_what_typography_becomes_is_gsm() -> None:
    for code, written in TYPOGRAPHIC.items():
        assert measure(written).encoding is GSM, unicodedata.name(chr(code))
        assert measure(chr(code)).encoding is UCS, unicodedata.name(chr(code))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab“”’–…ж\u00a0"), max_size=200))
def test_smart_encoding_never_costs(text: str) -> None:
    assert measure(plain(text)).segments <= measure(text).segments
