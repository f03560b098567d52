"""What is there to know that no single command tells?

`help TOPIC`: short texts beside this module, one file each, the title in its first line. Words in them that the daemon
knows (states, categories, reasons, events, exit codes) are compared with the code by a test. `help COMMAND` is that
command's own help.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from smsd.cli.frame import AS_JSON, EX_USAGE, Out, complain, examples, leave

TOPICS: Final = Path(__file__).with_name("topics")

ALIASES: Final = {
    "rate": "pacing",
    "scopes": "tokens",
    "roles": "permissions",
    "uncertainty": "uncertain",
    "categories": "errors",
    "verdicts": "errors",
    "failover": "routing",
    "accounts": "pacing",
    "health": "breaker",
    "learnt": "adaptive",
    "opt-out": "suppression",
    "stop": "consent",
    "keywords": "consent",
    "receipts": "webhooks",
    "callbacks": "webhooks",
    "public_url": "webhooks",
    "views": "reports",
    "sla": "reports",
}


def topics() -> dict[str, str]:
    """Topic -> title."""
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in sorted(TOPICS.glob("*.txt"))}


def topic_text(name: str) -> str | None:
    """The text of a topic or of another name for it; None when there is none."""
    path = TOPICS / f"{ALIASES.get(name, name)}.txt"
    return path.read_text(encoding="utf-8") if path.stem in topics() else None


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    return [name for name in [*topics(), *root.command.list_commands(root)] if name.startswith(incomplete)]


@click.command("help", epilog=examples("smsd help", "smsd help states", "smsd help send", "smsd help token new"))
@click.argument("words", metavar="[TOPIC | COMMAND]", nargs=-1, shell_complete=_names)
@AS_JSON
def help_command(words: tuple[str, ...], as_json: bool) -> None:
    """What there is to know: topics, or the help of a command."""
    out = Out(as_json)
    if not words:
        _list(out)
        return
    topic, command = topic_text(words[0]) if len(words) == 1 else None, _of_command(words)
    if topic is not None and command is not None:
        topic += f"\nThe command of that name: smsd {words[0]} --help"
    text = topic or command
    if text is None:
        complain([f"There is no topic and no command {' '.join(words)!r}."], "`smsd help` lists the topics.")
        leave(EX_USAGE)
    out.document({"topic": " ".join(words), "text": text}) if as_json else out.line(text.rstrip())


def _list(out: Out) -> None:
    found = topics()
    if out.json:
        out.document({"topics": found})
        return
    width = max(map(len, found))
    for name, title in found.items():
        out.line(f"  {name.ljust(width)}  {title}")
    out.line("\nsmsd help TOPIC shows one of them, smsd help COMMAND how a command is used, smsd --help the commands.")


def _of_command(words: tuple[str, ...]) -> str | None:
    """The help of a command; None when there is none of that name."""
    ctx = click.get_current_context().find_root()
    command: click.Command | None = ctx.command
    for word in words:
        command = command.get_command(ctx, word) if isinstance(command, click.Group) else None
        if command is None:
            return None
        ctx = click.Context(command, info_name=word, parent=ctx)
    assert command is not None
    return command.get_help(ctx)
