"""`--long` also runs what is marked long; without it such tests are skipped.

What collecting the tests leaves in memory stays to the end: the collector of garbage need not look at it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the soaks that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="long: run with --long"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without looking for garbage, and never look at what is there then: that took 2 to 11 % of a run."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect()  # what was left open would be heard of
        gc.freeze()
        gc.enable()
