"""Does the kernel see one sync between a request and its acknowledgement, and what if that sync fails?

The process is watched and hurt from outside, by strace: no double stands between the store and the kernel.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


async def trace(tmp_path: Path, synchronous: str, *options: str) -> list[str]:
    """The syncs of the -wal and the words that the process said, in order."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: apt-get install strace")
    log = tmp_path / "trace"
    import sys

    process = await asyncio.create_subprocess_exec(
        strace, "-f", "-y", "-s", "200", "-o", str(log), "-e", "trace=fdatasync,fsync,write", *options,
        sys.executable, "-m", "tests.store.strace_target", str(tmp_path / "outbox.db"), synchronous,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if b"ptrace" in output and b"Operation not permitted" in output:
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    assert process.returncode == 0, output
    found = []
    for line in log.read_text().splitlines():
        if word := re.search(r"write\(2\D.*\"--(.*)--\\n\"", line):
            found.append(word[1])
        elif re.search(r"f(data)?sync\(\d+<[^>]*-wal>", line):
            found.append("sync")
    return found[found.index("ASK") : found.index("END")]


async def test_one_sync_for_each_commit_before_its_acknowledgement(tmp_path: Path) -> None:
    assert await trace(tmp_path, "full") == ["ASK", "sync", "ACK"] * 4


async def test_without_full_there_is_none(tmp_path: Path) -> None:
    assert await trace(tmp_path, "normal") == ["ASK", "ACK"] * 4


async def test_a_sync_that_fails_is_not_acknowledged_and_not_repeated(tmp_path: Path) -> None:
    whole = await trace(tmp_path, "full")
    assert "sync" in whole
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    # Which sync is the second acceptance's: those before the first request count too.
    counted = await syncs_before_asking(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    hurt = await trace(tmp_path, "full", "-e", f"inject=fdatasync:error=EIO:when={counted + 2}")
    assert hurt == ["ASK", "sync", "ACK", "ASK", "sync", "FATAL OutcomeUnknownError", "NO OutcomeUnknownError"] + [
        "ASK", "NO StoreBrokenError"
    ] * 2  # fmt: skip


async def syncs_before_asking(tmp_path: Path) -> int:
    """fdatasync calls of a start, in the order in which strace counts them."""
    await trace(tmp_path, "full")
    lines = (tmp_path / "trace").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if "--ASK--" in line)
    return sum("fdatasync(" in line for line in lines[:start])
