"""A process for test_strace.py: accepts messages one by one and says each word by a write to standard error."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from smsd.store import Stored, StoreError
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.contract import accept


def say(word: str) -> None:
    """Into the trace, where it stands between the system calls."""
    os.write(2, f"--{word}--\n".encode())


async def main(path: Path, synchronous: str) -> None:
    """Three batches of one and one of a hundred."""

    def fatal(error: StoreError) -> None:
        say(f"FATAL {type(error).__name__}")

    box = SqliteOutbox(path, on_fatal=fatal, synchronous=synchronous)
    await box.open(NOW)
    for first, size in ((1, 1), (2, 1), (3, 1), (4, 100)):
        say("ASK")
        results = await accept(box, *(draft(n) for n in range(first, first + size)))
        say("ACK" if all(isinstance(r, Stored) for r in results) else f"NO {type(results[0]).__name__}")
    say("END")
    await box.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
