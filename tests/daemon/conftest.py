"""Each test of the real process gets a Site, and no test may leave anything private in the daemon's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.harness import Site, short_directory


@pytest.fixture
def site() -> Iterator[Site]:
    with short_directory() as directory:
        site = Site(Path(directory))
        try:
            yield site
        finally:
            site.close()
        assert site.leaks() == [], site.log()[-4_000:]
