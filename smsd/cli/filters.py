"""Which messages does a command speak of?

The filters of a listing as options, the same for `list`, `retry` and `cancel`, and what is said when there were more
messages than a command shows. What a filter finds is the daemon's to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

import click

from smsd.cli.frame import complain
from smsd.client import Document

STATES: Final = ("pending", "processing", "sent", "delivered", "undelivered", "failed", "cancelled", "expired")

CATEGORIES: Final = (
    *("RATE_LIMITED", "AUTH_FAILED", "CONFIG_ERROR", "NETWORK", "TIMEOUT", "PROVIDER_ERROR", "INVALID_RECIPIENT"),
    *("OPTED_OUT", "REJECTED", "UNDELIVERED", "LIMIT_EXCEEDED", "EXHAUSTED", "EXPIRED", "UNCERTAIN"),
)
"""The errors' closed vocabulary."""


def _category(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """In either case of letters; anything else is a usage error, for it would find nothing."""
    if value is None or value.upper() in CATEGORIES:
        return value and value.upper()
    near = get_close_matches(value.upper(), CATEGORIES, n=1)
    hint = f"Did you mean {near[0]}? It is" if near else "It is"
    raise click.BadParameter(f"{value!r} is no category. {hint} one of {', '.join(CATEGORIES)}.")


BY_CATEGORY: Final = click.option(
    "--category", metavar="CATEGORY", callback=_category, help="Error category, e.g. NETWORK."
)

NAMES: Final = ("to", "user", "tenant", "campaign", "category", "since")
"""The filters besides the state, as the daemon calls them."""


def by_filters(function: click.decorators.FC, states: Sequence[str] = STATES) -> click.decorators.FC:
    """Give a command the options. `states`: those that can be asked for."""
    for option in reversed(
        (
            click.option("--state", "states", type=click.Choice(states), multiple=True, help="Repeatable."),
            click.option("--to", metavar="NUMBER", help="Recipient, in E.164."),
            click.option("--user", metavar="USER", help="Whom of your users they are about."),
            click.option("--tenant", metavar="TENANT", help="On whose behalf."),
            click.option("--campaign", metavar="ID", help="Of this campaign."),
            BY_CATEGORY,
            click.option("--since", metavar="TIME", help="Accepted at this time or later (RFC 3339 with offset)."),
        )
    ):
        function = option(function)
    return function


def first(limit: int, found: Iterable[Document]) -> tuple[list[Document], bool]:
    """So many of them, and whether there are more; for that `found` must hold one more than the limit."""
    several = [*islice(found, limit + 1)]
    return several[:limit], len(several) > limit


def up_to(limit: int, found: Iterable[Document]) -> Iterator[Document]:
    """The same one by one; at the end it is told on standard error when there are more."""
    for n, message in enumerate(found):
        if n == limit:
            complain([more(limit)], "")
            return
        yield message


def more(limit: int) -> str:
    """That a listing ended at its limit."""
    return f"{limit} shown, there are more: --limit N"
