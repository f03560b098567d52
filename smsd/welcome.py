"""What does a newcomer see first?

`smsd run --dev` sends itself one message, through its own socket like any client, waits until the simulated carrier has
taken it, and says what to type next. Nothing here is reached in any other mode.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from smsd.client import AsyncClient, SmsdError
from smsd.core.events import Event, Kind
from smsd.engine.bus import Bus

RECIPIENT = "+15005550006"
TEXT = "Hello from smsd. This first message went through the socket, the outbox and a simulated carrier."
PATIENCE_S = 10.0

NEXT = """
smsd runs on embedded defaults. State: {state}
Its first message {id} was accepted and synced to disk, and sent by the sandbox in {ms} ms.

Next, in a second terminal in this folder:
    {smsd} send +14155550123 "Your code is 123456"
    {smsd} list
    {smsd} show {id}
    {smsd} send +15005550010 "The sandbox throttles this number; see why it waits:"
    {smsd} queue
    {smsd} watch
Or from any program: one JSON object a line to {socket}, or over HTTP:
    curl -s {url}/v1/messages -H 'Content-Type: application/json' -d '{{"to": "+14155550123", "text": "Hello"}}'
Stop with Ctrl-C.
"""


async def welcome(bus: Bus, socket: Path, url: str) -> None:
    """Send the first message and print what to do next; a failure is printed, and changes nothing.

    `url`: where HTTP is answered.
    """
    sent: asyncio.Queue[str] = asyncio.Queue()

    def note(event: Event) -> None:
        if event.kind is Kind.MESSAGE_SENT:
            sent.put_nowait(str(event.fields["id"]))

    stop = bus.subscribe(note)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with AsyncClient(socket, timeout=PATIENCE_S) as client, asyncio.timeout(PATIENCE_S):
            id = str((await client.send(RECIPIENT, TEXT, type="welcome"))["id"])
            while await sent.get() != id:
                pass
    except (SmsdError, TimeoutError) as error:
        sys.stderr.write(f"smsd: the first message did not go: {error or 'it took too long'}. See the log above.\n")
        return
    finally:
        stop()
    ms = round((loop.time() - began) * 1e3)
    smsd = _command()
    sys.stdout.write(NEXT.format(state=socket.parent, id=id, ms=ms, smsd=smsd, socket=socket, url=url))
    sys.stdout.flush()


def _command() -> str:
    """How the user started it: .venv/bin/smsd, or smsd when that is on the path."""
    program = Path(sys.argv[0])
    if program.name != "smsd":
        return f"{sys.executable} -m smsd"
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_absolute() and here in program.parents else str(program)
