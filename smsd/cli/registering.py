"""How does a provider learn where to call us back?

The family `provider`: `register` has the daemon set it up where the provider has an API for that, `webhooks` prints
what a person enters elsewhere. The secret at the end of a URL is never shown; it stands in the configuration.
"""

from __future__ import annotations

import click

from smsd.cli.completion import known_providers
from smsd.cli.frame import EX_CONFIG, Out, asks_daemon, complain, examples, leave, printable
from smsd.client import Client, Document


@click.group(
    "provider", short_help="Where providers call back.", context_settings={"help_option_names": ["-h", "--help"]}
)
def provider_command() -> None:
    """Where providers call back with delivery reports and texts received. How each is set up: smsd help webhooks.

    For administrators of the whole daemon.

    \b
    Examples:
      smsd provider webhooks
      smsd provider register office
    """


@provider_command.command(
    "register",
    short_help="Let a provider know where to call back.",
    epilog=examples("smsd provider register office", "smsd provider register office --json"),
)
@click.argument("provider", shell_complete=known_providers)
@asks_daemon
def register_command(client: Client, out: Out, *, provider: str) -> None:
    """Let a provider know where to call back, by its API. It may be given again: what is there already stays.

    For a provider without such an API it prints what to enter where. Exit code 78: the configuration lacks something,
    or the provider refuses it; 69: the provider could not be reached, or gave no answer: give it again.
    """
    found = client.register(provider)
    out.document(found) if out.json else _tell(out, found)
    if found["needs"]:
        leave(EX_CONFIG)


@provider_command.command(
    "webhooks",
    short_help="The URLs to enter at each provider.",
    epilog=examples("smsd provider webhooks", "smsd provider webhooks office", "smsd provider webhooks --json"),
)
@click.argument("providers", metavar="[PROVIDER]...", nargs=-1, shell_complete=known_providers)
@asks_daemon
def webhooks_command(client: Client, out: Out, *, providers: tuple[str, ...]) -> None:
    """The URLs to enter at each provider, and what is missing for them. `<webhook_secret>` stands for the secret of
    [providers.NAME]."""
    names = providers or known_names(client)
    for name in names:
        found = client.register(name, dry_run=True)
        out.document(found) if out.json else _tell(out, found)
    if not names:
        complain(["No provider is configured."], "Add a [providers.NAME]: smsd help config")


def known_names(client: Client) -> tuple[str, ...]:
    """Every provider, those that are disabled last: what they took is not done yet, so they may call back."""
    known = client.call("providers")
    return (*(str(each["name"]) for each in known["providers"]), *map(str, known.get("disabled", ())))


def _tell(out: Out, found: Document) -> None:
    out.line(f"{found['provider']}: {printable(found['text'])}")
    width = max(map(len, found["webhooks"]), default=0)
    for kind, url in found["webhooks"].items():
        out.line(f"  {kind.ljust(width)}  {printable(url)}")
