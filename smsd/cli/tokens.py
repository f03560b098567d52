"""How does an application get a token for the HTTP door?

`token new` makes one and the lines for the configuration; `token hash` makes the lines for one that exists. The daemon
keeps only the SHA-256 of a token, so the token itself is printed once and kept nowhere. A plain hash is enough: a token
is 256 random bits, no word that somebody could guess. Neither command talks to the daemon or changes the configuration.
"""

from __future__ import annotations

import json
import sys
from typing import Final

import click

from smsd.cli.frame import AS_JSON, EX_DATAERR, Out, complain, examples, leave

PREFIX: Final = "smsd_"
"""So that scanners for leaked secrets can know one."""

RANDOM_BYTES: Final = 32
SHORTEST: Final = 32
"""Characters of a token that is hashed here; a shorter one could be found by trying."""

LONGEST: Final = 512

SCOPES: Final = ("send", "read", "admin")

_NAME = click.option("--name", metavar="NAME", required=True, help="What the token is called in logs and settings.")
_SCOPE = click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What its holder may do. Repeatable.",
)
_TENANT = click.option("--tenant", metavar="TENANT", help="Whose messages it is about. Without: everybody's.")


@click.group("token", context_settings={"help_option_names": ["-h", "--help"]})
def token_command() -> None:
    """Make tokens for the HTTP door.

    \b
    Examples:
      smsd token new --name shop --scope send --scope read --tenant shop
      smsd token hash --name shop --scope send < token.txt
    """


@token_command.command(
    "new",
    epilog=examples(
        "smsd token new --name shop --scope send --scope read --tenant shop",
        "smsd token new --name ops --scope admin --scope read --json | jq -r .token",
    ),
)
@_NAME
@_SCOPE
@_TENANT
@AS_JSON
def new_command(name: str, scopes: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Make a token; print it once, with the lines for the configuration.

    After adding the lines: smsd reload. The application sends `Authorization: Bearer TOKEN`.
    """
    from secrets import token_urlsafe

    token = PREFIX + token_urlsafe(RANDOM_BYTES)
    out = Out(as_json)
    entry = _entry(token, name, scopes, tenant)
    if as_json:
        out.document({"token": token, **entry, "config": _lines(entry)})
        return
    out.line(token)
    out.line("")
    out.line(_lines(entry))
    click.echo("\nsmsd: the token is shown only this once; give it to its application over a safe way.", err=True)
    click.echo("      Add the lines above to the configuration, then: smsd reload", err=True)


@token_command.command(
    "hash",
    epilog=examples(
        "smsd token hash --name shop --scope send < token.txt",
        "pass show smsd/shop | smsd token hash --name shop --scope send --scope read --tenant shop",
    ),
)
@_NAME
@_SCOPE
@_TENANT
@AS_JSON
def hash_command(name: str, scopes: tuple[str, ...], tenant: str | None, as_json: bool) -> None:
    """Print the configuration's lines for a token read from standard input.

    Never give a token as an argument: everybody on the machine can read the arguments of a process.
    """
    entry = _entry(_from_stdin(), name, scopes, tenant)
    out = Out(as_json)
    out.document({**entry, "config": _lines(entry)}) if as_json else out.line(_lines(entry))


def _from_stdin() -> str:
    if sys.stdin.isatty():
        token: str = click.prompt("Token", hide_input=True, err=True)
    else:
        token = sys.stdin.buffer.read(LONGEST + 2).decode("ascii", "replace")
    token = token.strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        complain(["The token holds a character that cannot stand in an HTTP header."], "Make one: smsd token new")
        leave(EX_DATAERR)
    if not SHORTEST <= len(token) <= LONGEST:
        told = f"The token has {len(token)} characters; it must have {SHORTEST} to {LONGEST}."
        complain([told], "Make one: smsd token new")
        leave(EX_DATAERR)
    return token


def _entry(token: str, name: str, scopes: tuple[str, ...], tenant: str | None) -> dict[str, object]:
    """What the configuration is to hold. Raises click.UsageError for names that it would refuse."""
    from hashlib import sha256

    from smsd.config.http import TOKEN_NAME
    from smsd.config.tenants import KEPT, LOCAL, TENANT_NAME, TENANT_REMEDY

    if not TOKEN_NAME.fullmatch(name):
        raise click.UsageError("--name takes at most 64 of A-Z a-z 0-9 - _ . @, beginning with a letter or digit.")
    if tenant is not None and (KEPT.fullmatch(tenant) or LOCAL.fullmatch(tenant)):
        raise click.UsageError(f"--tenant {tenant} is kept for callers that are given no tenant; choose another name.")
    if tenant is not None and not TENANT_NAME.fullmatch(tenant):
        raise click.UsageError(f"--tenant {TENANT_REMEDY}.")
    return {
        "name": name,
        "sha256": sha256(token.encode("ascii")).hexdigest(),
        "scopes": [scope for scope in SCOPES if scope in scopes],
        **({"tenant": tenant} if tenant else {}),
    }


def _lines(entry: dict[str, object]) -> str:
    """As TOML. JSON's spelling of strings and lists of strings is TOML's too."""
    return "\n".join(
        ["[[http.tokens]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items())]
    )
