"""Is the first byte that is no UTF-8 found, wherever a chunk ends?"""

from __future__ import annotations

import os
import re
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.cli import encoding


@given(
    text=st.text("aé€😀\r\n", max_size=30),
    bad=st.sampled_from([b"\xe9", b"\xff", b"\xf0\x9f", b"\x80", b"\xed\xa0\x80", b""]),
    rest=st.text("b\n", max_size=5),
    chunk=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_the_first_byte_that_is_no_utf8(text: str, bad: bytes, rest: str, chunk: int) -> None:
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK", chunk)
        file.write(text.encode() + bad + rest.encode())
        file.flush()
        found = encoding.stray(file.fileno())
    if not bad:
        assert found is None
    else:
        line = 1 + len(re.findall("\r\n|\r|\n", text))
        assert found == (line, bad[0])


def test_a_pipe_is_not_looked_through() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"\xff")
        assert encoding.stray(reading) is None
        assert os.read(reading, 1) == b"\xff"
    finally:
        os.close(reading)
        os.close(writing)
