"""How are all mistakes of one gateway's description told at once?

Each check finds its own and knows no other; here they are made one after the other and what they raise is raised
together, so that a file is not mended one fault at a time. What is checked is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from smsd.providers.base import SettingsError


def gathered(*checks: Callable[[], object]) -> None:
    """Makes all checks. Each raises ValueError("key: what is wrong; remedy") or SettingsError for what it finds.

    Raises one SettingsError with all of it, each fault once, though several checks may stumble over the same one.
    """
    faults: dict[tuple[str, str], None] = {}
    for check in checks:
        try:
            check()
        except SettingsError as error:
            faults.update(dict.fromkeys(error.faults))
        except ValueError as error:
            key, _, message = str(error).partition(": ")
            faults[key, message] = None
    if faults:
        raise SettingsError(*faults)


def judged(faults: Iterable[tuple[str, str]]) -> None:
    """Raises SettingsError if there is any fault (key, what is wrong and the remedy)."""
    if found := tuple(faults):
        raise SettingsError(*found)
