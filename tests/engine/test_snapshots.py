"""How is a copy of the outbox handed out, and what is asked for in vain?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smsd.engine.snapshots import PIECE_BYTES, PREFIX, GoneError, OffsetError, Snapshots

CONTENT = bytes(range(256)) * 1_100
"""Two pieces and a part."""


class Copier:
    """An outbox whose copies are these bytes."""

    def __init__(self) -> None:
        self.made = 0

    async def snapshot(self, path: Path) -> int:
        self.made += 1
        return path.write_bytes(CONTENT)


@pytest.fixture
def copier() -> Copier:
    return Copier()


@pytest.fixture
async def snapshots(copier: Copier, tmp_path: Path) -> AsyncIterator[Snapshots]:
    (tmp_path / f"{PREFIX}left.db").write_bytes(b"by a crash")
    found = Snapshots(copier, tmp_path)
    yield found
    found.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_copy_comes_piece_by_piece(snapshots: Snapshots, copier: Copier) -> None:
    piece = await snapshots.read(None, 0)
    found = bytearray(piece.data)
    assert (piece.size, piece.done) == (len(CONTENT), False)
    while not piece.done:
        piece = await snapshots.read(piece.id, len(found))
        assert piece.offset == len(found)
        found += piece.data
    assert found == CONTENT
    assert copier.made == 1
    beyond = await snapshots.read(piece.id, len(CONTENT))
    assert (beyond.data, beyond.done) == (b"", True)
    assert (await snapshots.read(piece.id, PIECE_BYTES)).data == CONTENT[PIECE_BYTES : 2 * PIECE_BYTES]


async def test_no_copy_is_made_for_an_offset_without_one(snapshots: Snapshots, copier: Copier) -> None:
    for offset, remedy in ((1, "give its `snapshot`"), (2**62, "give its `snapshot`"), (-1, "0 or more")):
        with pytest.raises(OffsetError, match=remedy):
            await snapshots.read(None, offset)
    assert copier.made == 0


async def test_an_offset_behind_the_end_is_told_apart_from_a_copy_that_is_gone(snapshots: Snapshots) -> None:
    first = await snapshots.read(None, 0)
    with pytest.raises(OffsetError, match=f"it has {len(CONTENT)} bytes"):
        await snapshots.read(first.id, len(CONTENT) + 1)
    second = await snapshots.read(None, 0)
    for id in (first.id, "nonsense"):
        with pytest.raises(GoneError):
            await snapshots.read(id, 0)
    assert (await snapshots.read(second.id, 0)).data == second.data
    snapshots.close()
    with pytest.raises(GoneError):
        await snapshots.read(second.id, 0)
