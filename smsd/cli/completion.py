"""How does a shell complete what is typed after `smsd`?

click knows commands, options and choices; the names of providers the daemon knows, so it is asked, for a fifth of a
second at most. Whatever goes wrong then means no names: somebody who presses Tab wants no error message.
"""

from __future__ import annotations

from typing import Final

import click

from smsd.cli.frame import AS_JSON, Out, connect, examples
from smsd.client import Document, SmsdError

PATIENCE_S: Final = 0.2
VARIABLE: Final = "_SMSD_COMPLETE"


@click.command(
    "completion",
    short_help="Teach a shell to complete what is typed.",
    epilog=examples(
        "smsd completion bash > ~/.local/share/bash-completion/completions/smsd",
        "smsd completion zsh > ~/.zfunc/_smsd",
        "smsd completion fish > ~/.config/fish/completions/smsd.fish",
        'eval "$(smsd completion bash)"',
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@AS_JSON
def completion_command(shell: str, as_json: bool) -> None:
    """Print the script that teaches a shell to complete smsd's commands, options and values."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click speaks the three shells of the choice"
    smsd = click.get_current_context().find_root().command
    asked = kind(smsd, {}, "smsd", VARIABLE)
    # Not asked.source(): for bash that starts the machine's default bash only to look at its version.
    script = asked.source_template % asked.source_vars()
    out = Out(as_json)
    out.document({"shell": shell, "script": script}) if as_json else out.line(script)


def known_providers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of the daemon's providers that begin so; none when it cannot be asked at once."""
    socket, url, token_file = (ctx.params.get(name) for name in ("socket", "url", "token_file"))
    try:
        with ctx.scope(cleanup=False), connect(socket, url, token_file, PATIENCE_S) as client:
            names = _names(client.providers())
    except (SmsdError, click.ClickException):
        return []
    return [name for name in names if name.startswith(incomplete)]


def _names(providers: list[Document]) -> list[str]:
    return [str(each["name"]) for each in providers]
