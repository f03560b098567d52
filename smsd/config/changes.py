"""What is different between two configurations, and what of it needs a restart?

For a reload, which tells a person what it changed. Both are laid out as `show` lays them out, which is every key there
is, and compared by value; secrets too, though only their keys are ever named. A test changes each field of Config and
sees it reported, so that a new key cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smsd.config.show import layout
from smsd.config.values import Config

RESTART: Final = frozenset(
    {
        "daemon.state_dir",
        "daemon.runtime_dir",
        "outbox.synchronous",
        "outbox.min_free",
        "outbox.ballast",
        "socket.path",
        "socket.mode",
        "socket.group",
        "socket.admin_group",
        "http.listen",
    }
)
"""Keys of what is opened once, at the start. All others count from the reload on."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths of keys, as in `providers.main.rate`; of a section that came or went, its own: `providers.main`."""

    changed: tuple[str, ...]
    """Those that count at once."""
    restart: tuple[str, ...]
    """Those that count only after a restart; none of them is in `changed`."""


def compare(old: Config, new: Config) -> Changes:
    """What `new` sets otherwise than `old`, in the order of `config.toml.example`. `providers` alone: their order,
    which is the order of routing."""
    paths = list(_different(old, new))
    return Changes(
        tuple(path for path in paths if path not in RESTART), tuple(path for path in paths if path in RESTART)
    )


def _different(old: Config, new: Config) -> Iterator[str]:
    before = {section.path: section.values for section in layout(old)}
    after = {section.path: section.values for section in layout(new)}
    for path in dict.fromkeys((*after, *before)):
        if path not in before or path not in after:
            yield path
            continue
        was, is_now = before[path], after[path]
        for key in dict.fromkeys((*is_now, *was)):
            if was.get(key) != is_now.get(key):
                yield f"{path}.{key}"
    if _order(old, new) != _order(new, old):
        yield "providers"


def _order(config: Config, other: Config) -> list[str]:
    """The names of those providers that both have, in the order of the first."""
    common = {provider.name for provider in other.providers}
    return [provider.name for provider in config.providers if provider.name in common]
