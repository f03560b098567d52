"""What did the messages come to?

`report`: the daemon's figures as a table for a person, as CSV for a spreadsheet, as JSON for a program. What they mean
is said in `smsd help reports`; how they are counted is the daemon's to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from smsd.cli.frame import Out, asks_daemon, examples
from smsd.cli.render import Page
from smsd.client import Client, Document

BY: Final = ("day", "tenant", "campaign", "user", "type", "provider")

NOT_OF: Final[Mapping[str, frozenset[str]]] = {
    "daily": frozenset(),
    "errors": frozenset({"by", "sla"}),
    "retries": frozenset({"by", "sla"}),
    "rate": frozenset({"by", "sla", "campaign"}),
    "cost": frozenset({"sla"}),
}
"""Options that a report does not have."""


@click.command(
    "report",
    short_help="Figures: daily, errors, retries, rate, cost.",
    epilog=examples(
        "smsd report daily --since 2026-01-01 --until 2026-01-31 --sla 99",
        "smsd report daily --by provider",
        "smsd report errors --campaign spring",
        "smsd report cost --by campaign --csv > cost.csv",
        "smsd report rate --since 2026-01-02T15:00:00Z --json | jq .peak",
    ),
)
@click.argument("kind", type=click.Choice([*NOT_OF]))
@click.option("--since", metavar="TIME", help="RFC 3339 with offset, or a date. Default: 30 days; rate: an hour.")
@click.option("--until", metavar="TIME", help="Before this time; of a date the whole day. Default: now.")
@click.option("--by", type=click.Choice(BY), help="A line for each. Default: day; cost: tenant.")
@click.option(
    "--sla", type=click.FloatRange(0, 100, min_open=True), metavar="PERCENT", help="The delivery rate agreed."
)
@click.option("--campaign", metavar="ID", help="Of this campaign.")
@click.option("--tenant", metavar="TENANT", help="On whose behalf.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180) for spreadsheets.")
@asks_daemon
def report_command(client: Client, out: Out, *, kind: str, as_csv: bool, **options: Any) -> None:
    """Figures about messages by the day of their acceptance, in the daemon's time zone.

    \b
    daily    what became of them, with the delivery rate
    errors   why they failed
    retries  what calling again was good for
    rate     sent and failed, by the minute
    cost     what they cost

    What the columns mean: smsd help reports.
    """
    if as_csv and out.json:
        raise click.UsageError("--csv and --json are two forms of the same; leave one of them out.")
    for name in sorted(NOT_OF[kind]):
        if options[name] is not None:
            raise click.UsageError(f"The report {kind} has no --{name}.")
    found = client.report(kind, **options, format="csv" if as_csv else None)
    if as_csv:
        click.echo(found["csv"].encode(), nl=False)
    elif out.json:
        out.document(found)
    else:
        _PAGES[kind](found).print()


# -- for a person -----------------------------------------------------------------------------------------------------


def _daily(found: Document) -> Page:
    agreed = found["sla"] is not None
    states = ("accepted", "pending", "sent", "delivered", "undelivered", "failed", "expired", "cancelled", "segments")
    heads = [found["by"].upper(), *(state.upper() for state in states), "RATE", *(["SLA"] if agreed else []), "COST"]
    rows = [
        (
            _named(line["group"]),
            *(line[state] for state in states),
            _percent(line["delivery_rate"]),
            *([_met(line["met"])] if agreed else []),
            _cost_of(line),
        )
        for line in (*found["items"], found["total"])
    ]
    optional = ("DELIVERED", "UNDELIVERED", "PENDING", "EXPIRED", "CANCELLED", "SEGMENTS")
    return _page(found, heads, rows, optional)


def _cost(found: Document) -> Page:
    heads = (found["by"].upper(), "MESSAGES", "SEGMENTS", "COST")
    rows = [
        (_named(line["group"]), line["messages"], line["segments"], _cost_of(line))
        for line in (*found["items"], found["total"])
    ]
    return _page(found, heads, rows)


def _errors(found: Document) -> Page:
    names = ("category", "code", "provider", "messages")
    heads = (*(name.upper() for name in names), "SHARE", "EXAMPLE")
    rows = [(*(line[name] for name in names), _percent(line["share"]), line["example"]) for line in found["items"]]
    return _page(found, heads, rows, ("PROVIDER",))


def _retries(found: Document) -> Page:
    heads = ("ATTEMPTS", "MESSAGES", "SUCCESSFUL", "RATE", "CALL", "IN ALL")
    rows = [
        (
            *(line[name] for name in ("attempts", "messages", "successful")),
            _percent(line["success_rate"]),
            _ms(line["average_latency_ms"]),
            _ms(line["average_time_ms"]),
        )
        for line in found["items"]
    ]
    page = _page(found, heads, rows)
    page.facts(
        [
            ("Retried", found["total_retries"]),
            ("Of them sent", found["successful_retries"]),
            ("Success rate", _percent(found["success_rate"])),
            ("Attempts on average", found["average_attempts"]),
        ]
    )
    return page


def _rate(found: Document) -> Page:
    heads = ("MINUTE", "SENT", "FAILED")
    page = _page(found, heads, [(line["minute"], line["sent"], line["failed"]) for line in found["items"]])
    peak = found["peak"]
    page.facts(
        [
            ("Sent", found["sent"]),
            ("Failed", found["failed"]),
            ("Peak", peak and f"{peak['sent']} at {peak['minute']}"),
        ]
    )
    return page


_PAGES: Final[Mapping[str, Callable[[Document], Page]]] = {
    "daily": _daily,
    "errors": _errors,
    "retries": _retries,
    "rate": _rate,
    "cost": _cost,
}


def _page(
    found: Document, heads: Sequence[str], rows: Sequence[Sequence[object]], optional: Sequence[str] = ()
) -> Page:
    page = Page()
    page.line(f"{found['since']} to {found['until']}")
    if found["items"]:
        page.table(heads, rows, optional)
    else:
        page.line("No such messages.")
    return page


def _named(group: str) -> str | None:
    return group or None


def _percent(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.2f} %"


def _met(met: bool | None) -> str | None:
    return None if met is None else "met" if met else "missed"


def _ms(length: int | None) -> str | None:
    return None if length is None else f"{length} ms" if length < 10_000 else f"{length / 1_000:.0f} s"


def _cost_of(line: Document) -> str | None:
    """What was told by currency, what is estimated, and what is missing."""
    told = [f"{amount} {currency}" for currency, amount in line["cost"].items()]
    told += [f"about {line['estimated']}"] if line["estimated"] is not None else []
    told += [f"{line['unpriced']} without a price"] if line["unpriced"] else []
    return ", ".join(told) or None
