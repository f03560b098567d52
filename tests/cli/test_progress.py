"""Is it told how far a command is, on a terminal and elsewhere, whether or not it is known how much there is?"""

from __future__ import annotations

import pytest

from smsd.cli.progress import Bar, Lines


class Half:
    """A file, half of which is read."""

    size = 200

    def position(self) -> int:
        return 100


def test_lines_where_nobody_sees_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    time = [0.0]
    with Lines(Half(), lambda: time[0]) as progress:
        for _ in range(4):
            time[0] += 4.0
            for _ in range(256):
                progress.step({"accepted": 1_000, "refused": 0})
        assert capsys.readouterr().err == "smsd: 1,000 accepted; 50 %, 64 rows/s\n"
        for seconds in (0, 5, 10):
            time[0] += seconds
            progress.say(f"The backlog is full. Trying again in {seconds} s")
    assert capsys.readouterr().err.count("The backlog is full") == 2


def test_a_bar_says_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(Half())
    bar.say("before")
    with bar:
        bar.step({"accepted": 1})
        bar.say("The backlog is full.")
    assert "before" in capsys.readouterr().err


class Pipe:
    """Nobody knows how much comes."""

    size = 0

    def position(self) -> int:
        return 0


def test_no_share_of_what_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    time = [0.0]
    with Lines(Pipe(), lambda: time[0]) as lines:
        time[0] = 16.0
        for _ in range(256):
            lines.step({"accepted": 256})
    assert capsys.readouterr().err == "smsd: 256 accepted; 16 rows/s\n"
    with Bar(Pipe()) as bar:
        bar.step({"accepted": 1})
    assert "%" not in capsys.readouterr().err.replace("0%", "")
