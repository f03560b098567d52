"""Are lines and array elements cut where they end, however the bytes arrive?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.acceptance import Fault
from smsd.listeners.http.splitting import Elements, Lines, Splitter

MOST = 64

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9_999) | st.text('ab"\\{}[],\n é', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\{}[],', max_size=4), inner, max_size=3),
    max_leaves=6,
)


def cut(splitter: Splitter, parts: Iterable[bytes]) -> list[bytes | str]:
    """The pieces, stripped; of faults the code."""
    found = [piece for part in parts for piece in splitter.feed(part)]
    found += splitter.end()
    return [piece.code if isinstance(piece, Fault) else piece.strip() for piece in found]


def byte_by_byte(body: bytes) -> list[bytes]:
    return [body[n : n + 1] for n in range(len(body))]


LINES = [
    (b"", []),
    (b"\n \r\n\t\n", []),
    (b"a\nb\n", [b"a", b"b"]),
    (b"a\r\n\r\nb", [b"a", b"b"]),
    (b"x" * MOST + b"\nb\n", [b"x" * MOST, b"b"]),
    (b"a\n" + b"x" * (MOST + 1) + b"\nb\n", [b"a", "too_long", b"b"]),
    (b"x" * (3 * MOST), ["too_long"]),
    (b" " * (MOST + 1) + b"\nb", ["too_long", b"b"]),
]

ARRAYS = [
    (b"[]", []),
    (b" \n[ \t]\r\n", []),
    (b"[1]", [b"1"]),
    (b'[{"a":1},{"b":2}]', [b'{"a":1}', b'{"b":2}']),
    (b' [ {"a": [1, {"b": 2}]} , [] ] ', [b'{"a": [1, {"b": 2}]}', b"[]"]),
    (rb'[{"a":"}],{["},"]\"],"]', [rb'{"a":"}],{["}', rb'"]\"],"']),
    (rb'[{"a\\":"\\"},{"b":"\\\"}"}]', [rb'{"a\\":"\\"}', rb'{"b":"\\\"}"}']),
    (b'[{"a":1}},nonsense,{"b":2}]', [b'{"a":1}}', b"nonsense", b'{"b":2}']),
    (b'[{"a":1],{"b":2}]', [b'{"a":1]', b'{"b":2}']),
    (b"[1,,2]", [b"1", "malformed", b"2"]),
    (b"[,]", ["malformed", "malformed"]),
    (b"[1,]", [b"1", "malformed"]),
    (b'[{"a":1},{"b"', [b'{"a":1}', "malformed"]),
    (b'[{"a":1}', ["malformed"]),
    (b'[{"a":1},', [b'{"a":1}', "malformed"]),
    (b'["never closed, 1, 2]', ["malformed"]),
    (b"[", ["malformed"]),
    (b"", ["malformed"]),
    (b"  ", ["malformed"]),
    (b'{"to":1}\n{"to":2}', ["malformed"]),
    (b"[1] 2 3", [b"1", "malformed"]),
    (b"[1][2]", [b"1", "malformed"]),
    (b'["' + b"x" * (MOST - 2) + b'",1]', [b'"' + b"x" * (MOST - 2) + b'"', b"1"]),
    (b'["' + b"x" * (MOST - 1) + b'",1]', ["too_long", b"1"]),
    (b'[{"a":"' + rb"\"" * MOST + b'],"},1,' + b"9" * MOST + b"9, 2]", ["too_long", b"1", "too_long", b"2"]),
    (b"[" + b"{" * MOST + b"}" * MOST + b",1]", ["too_long", b"1"]),
]


@pytest.mark.parametrize(("body", "pieces"), LINES)
def test_lines(body: bytes, pieces: list[bytes | str]) -> None:
    assert cut(Lines(MOST), [body]) == pieces
    assert cut(Lines(MOST), byte_by_byte(body)) == pieces


@pytest.mark.parametrize(("body", "pieces"), ARRAYS)
def test_elements(body: bytes, pieces: list[bytes | str]) -> None:
    assert cut(Elements(MOST), [body]) == pieces
    assert cut(Elements(MOST), byte_by_byte(body)) == pieces


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON_VALUES, max_size=6), st.integers(1, 40), st.booleans())
def test_every_element_of_any_array_is_found(values: list[object], step: int, wide: bool) -> None:
    body = json.dumps(values, indent=2 if wide else None, ensure_ascii=False).encode()
    parts = [body[n : n + step] for n in range(0, len(body), step)]
    found = [json.loads(piece) for piece in cut(Elements(65_536), parts)]
    assert found == values


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200).map(lambda raw: raw.translate(bytes(b'[]{}",\\\n x1'[n % 11] for n in range(256)))))
def test_how_the_bytes_arrive_makes_no_difference(body: bytes) -> None:
    for make in (Lines, Elements):
        assert cut(make(MOST), [body]) == cut(make(MOST), byte_by_byte(body))


@pytest.mark.parametrize(
    "make_body",
    [
        lambda n: b"[" * n,
        lambda n: b'["' + b"\\" * n,
        lambda n: b"[" + b'"" ' * (n // 3),
        lambda n: b'[{"' + b'\\"' * n,
    ],
    ids=["brackets", "escapes", "strings", "quotes"],
)
def test_a_hostile_element_costs_time_in_proportion(make_body: Callable[[int], bytes]) -> None:
    body = make_body(1 << 20)
    parts = [body[n : n + 32_768] for n in range(0, len(body), 32_768)]
    began = time.process_time()
    found = cut(Elements(65_536), parts)
    assert time.process_time() - began < 3
    assert found[-1] == "malformed"
    assert len(found) == 1
