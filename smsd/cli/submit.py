"""How does a person or a shell script hand over one message?

`smsd send`: words of the command line become a submission; whether it is valid the daemon decides. This module is kept
apart so that it imports nothing the other commands need.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any, Final

import click

from smsd.cli.frame import (
    EX_DATAERR,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    Out,
    asks_daemon,
    complain,
    examples,
    leave,
    printable,
    span_text,
    spans,
)
from smsd.client import LINE_BYTES, Client, Document, SmsdError, submission

WAIT: Final = "30s"
LONGEST_LOOK_S: Final = 60.0
"""The daemon answers a question with `wait` when the message has left the queue, and holds it back no longer than
this."""

PAUSE_S: Final = 0.5
"""Before it is asked again when it did not wait: a daemon with very many waiting answers the rest at once."""

TRAVELLED: Final = frozenset({"sent", "delivered"})
UNSETTLED: Final = frozenset({"pending", "processing"})


def _pairs(ctx: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE.")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice.")
        found[name] = value
    return found or None


@click.command(
    "send",
    epilog=examples(
        'smsd send +15550100123 "Your code is 2417" --ttl 10m',
        'smsd send +15550100123 "See you at nine" --send-at 2026-01-02T08:00:00+01:00',
        'echo "Disk full on $(hostname)" | smsd send +15550100123 - --priority high',
        'smsd send +15550100123 "Order 7 is ready" --key order-7 --wait',
        "smsd send +15550100123 --template code --var code=2417 --lang de",
    ),
)
@click.argument("to")
@click.argument("text", required=False)
@click.option("--template", metavar="NAME", help="Instead of TEXT: a template of the daemon's configuration.")
@click.option(
    "--var", "vars", metavar="NAME=VALUE", multiple=True, callback=_pairs, help="For the template. Repeatable."
)
@click.option("--lang", metavar="TAG", help="The template's language, e.g. de.")
@click.option("--from", "from_", metavar="SENDER", help="Number, short code or name to send from.")
@click.option("--priority", type=click.Choice(["high", "normal", "bulk"]), help="Which goes first. Default: normal.")
@click.option("--send-at", metavar="TIME", help="Not before this time (RFC 3339 with offset).")
@click.option("--ttl", metavar="SPAN", help="Give up this long after acceptance or --send-at, e.g. 2h.")
@click.option("--expires-at", metavar="TIME", help="Give up at this time (RFC 3339 with offset).")
@click.option("--key", "idempotency_key", metavar="KEY", help="Idempotency key: the same key is never sent twice.")
@click.option("--user", metavar="USER", help="Whom of your users it is about.")
@click.option("--type", metavar="LABEL", help="A label for reports.")
@click.option("--campaign", metavar="ID", help="The campaign it belongs to.")
@click.option("--callback-url", metavar="URL", help="Where what becomes of it is told, instead of the tenant's.")
@click.option("--metadata", metavar="NAME=VALUE", multiple=True, callback=_pairs, help="Kept with it. Repeatable.")
@click.option("--tenant", metavar="TENANT", help="On whose behalf (administrators only).")
@click.option("--provider", metavar="NAME", help="Send through this provider only.")
@click.option("--max-attempts", type=click.IntRange(1, 20), help="Calls at most, the first included.")
@click.option("--profile", "retry", metavar="NAME", help="Retry profile of the configuration.")
@click.option("--overflow", type=click.Choice(["reject", "truncate"]), help="What to do with a text that is too long.")
@click.option(
    "--wait",
    callback=spans(0, 3_600),
    is_flag=False,
    flag_value=WAIT,
    metavar="[SPAN]",
    help=f"Wait until it is sent or has failed; {WAIT} unless said (--wait=5s). Put it last.",
)
@asks_daemon
def send_command(client: Client, out: Out, *, to: str, text: str | None, wait: float | None, **fields: Any) -> None:
    """Hand a message over. Prints its id once it is durable.

    TO is a number in E.164 (or national, when the daemon has a default region). TEXT is the message; `-` reads it from
    standard input, --template takes its place (smsd help templates). With --wait the state reached is told, and the
    exit code is 0 when it was sent, 69 when it failed, 75 when it still waits: it stays accepted and goes on.
    """
    if text is None and fields["template"] is None:
        raise click.UsageError("Missing argument 'TEXT' (or --template).")
    request = submission(to, _from_stdin() if text == "-" else text, fields)
    accepted = client.call(**request)
    try:
        _tell(client, out, accepted, wait)
    except OSError:
        # The answer did not arrive, the message did. Whoever does not know that sends it again.
        with suppress(OSError):  # both may go to the same full disk
            complain([f"accepted as {accepted['id']}"], "")
        raise


def _tell(client: Client, out: Out, accepted: Document, wait: float | None) -> None:
    """Raises OSError when standard output does not take it."""
    if wait is None:
        out.document(accepted) if out.json else out.line(accepted["id"])
        return
    if not out.json:
        out.line(accepted["id"])
    try:
        message = _followed(client, accepted["id"], wait)
    except SmsdError as error:
        # It is on disk; only the news of it are missing. Repeating the command would send it twice.
        out.problem(error, accepted["id"])
        complain(["The message is accepted; what became of it is not known."], f"smsd show {accepted['id']}")
        leave(EX_TEMPFAIL)
    _tell_outcome(message, out, wait)


def _from_stdin() -> str:
    """Standard input as text, without the newline at its end. Ends the command when it is not UTF-8 or endless."""
    data = sys.stdin.buffer.read(LINE_BYTES + 1)
    if len(data) > LINE_BYTES:
        complain(["The text on standard input is longer than any message."], f"At most {LINE_BYTES:,} bytes are read.")
        leave(EX_DATAERR)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        complain([f"Standard input is not UTF-8 at byte {error.start}."], "Convert it: iconv -f LATIN1 -t UTF-8")
        leave(EX_DATAERR)


def _followed(client: Client, id: str, seconds: float) -> Document:
    """The message once it has left the queue, or as it is when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        look = min(max(0.0, deadline - began), LONGEST_LOOK_S)
        message = client.get(id, wait=span_text(look)) if look else client.get(id)
        left = deadline - time.monotonic()
        if message["state"] not in UNSETTLED or left <= 0:
            return message
        if time.monotonic() - began < look / 2:
            time.sleep(min(left, PAUSE_S))


def _tell_outcome(message: Document, out: Out, seconds: float) -> None:
    state = message["state"]
    if out.json:
        out.document(message)
    elif state in TRAVELLED:
        out.line(f"{state} by {message['provider']}")
    elif state in UNSETTLED:
        why = (message["waiting"] or {}).get("text", "")
        complain(
            [f"Not sent within {seconds:g} s: it is {state}. {why}".rstrip()], "It goes on: smsd show " + message["id"]
        )
    else:
        error = message["error"] or {}
        told = f"{error['category']}: {error['message']}" if error else "no error is recorded"
        complain([f"The message is {state}: {printable(told)}"], "Details: smsd show " + message["id"])
    if state not in TRAVELLED:
        leave(EX_TEMPFAIL if state in UNSETTLED else EX_UNAVAILABLE)
