"""By which of our keys does this request prove itself?

While a key is changed from one to the next, requests come that were signed with either, so a dialect's key may be
several: the first is the one we give out, all are tried. How a signature is made is not known here.
"""

from __future__ import annotations

from collections.abc import Callable

from smsd.providers.base import HookRefusedError


def keys_of(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The keys that a setting holds, the first one first; none where it is not set."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def named(key: str, value: str | tuple[str, ...] | None) -> list[tuple[str, str]]:
    """(setting, key) of each, as faults name them: one by the setting, several by their places too, from 1."""
    if isinstance(value, tuple):
        return [(f"{key}.{place}", each) for place, each in enumerate(value, 1)]
    return [(key, each) for each in keys_of(value)]


def by_any(keys: tuple[str, ...], verify: Callable[[str], None]) -> None:
    """`verify` with one key after the other until one proves it. Raises HookRefusedError, with what each of them says
    is wrong, when none does, and without a key."""
    reasons: dict[str, None] = {}
    for key in keys:
        try:
            return verify(key)
        except HookRefusedError as error:
            reasons[str(error)] = None
    raise HookRefusedError("; or: ".join(reasons) or "there is no key to verify it with")
