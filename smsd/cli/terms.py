"""What does the command line say of a campaign as a whole?

Its name, rate and hours, in the words that `smsd import`, `smsd plan` and `smsd campaign create` share, what they are
to the daemon, and how it is named in a command. Which of them a campaign may have is the daemon's to say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

import click

from smsd.client import Document

AS_IT_STANDS: Final = "How it stands: smsd campaign show {id}"

NAME: Final = click.option("--name", metavar="NAME", help="Its name, for people.")
RATE: Final = click.option("--rate", metavar="COUNT/SPAN", help="At most so many in any such span, e.g. 1000/hour.")
BETWEEN: Final = click.option(
    "--between",
    "--send-between",
    "between",
    metavar="FROM-TO[ ZONE]",
    help='Only at these hours, e.g. "09:00-18:00 Europe/Berlin".',
)


def terms_of(options: Mapping[str, Any]) -> Document:
    """Tenant and terms as fields of `campaign_create`. Raises click.UsageError."""
    given = {
        "name": options["name"],
        "tenant": options["tenant"],
        "rate": options["rate"],
        "send_between": hours(options["between"]),
    }
    return {name: value for name, value in given.items() if value is not None}


def named(id: str, tenant: str | None = None) -> str:
    """A campaign as a command of the family `campaign` takes it. `tenant`: an administrator needs it where several have
    one of that id."""
    return shlex.quote(id) + ("" if tenant is None else f" --tenant {shlex.quote(tenant)}")


def hours(text: str | None) -> Document | None:
    """`09:00-18:00 Europe/Berlin` as the daemon takes it. Raises click.UsageError."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})(?:\s+(\S+))?", text.strip())
    if found is None:
        raise click.UsageError(f'--between {text!r} is not FROM-TO[ ZONE]; write "09:00-18:00 Europe/Berlin".')
    start, end, zone = found.groups()
    return {"from": start, "to": end, **({"zone": zone} if zone else {})}
