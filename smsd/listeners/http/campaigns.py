"""How does a campaign of any size come in over HTTP?

`POST /v1/campaigns`: one JSON object with its recipients in it, bounded as any body is; or lines (NDJSON), the first of
them that object and each further one a recipient, which are read as the intake has room for them and are as many as the
client likes. The answer comes when all were handed in. What comes too late (a client that stands still, a daemon that
stops) is told with how far it came. A list is answered with all that is wrong with the campaign and with its
recipients; of lines that begin with a wrong one no other is read, for they may go on for hours and would be read in
vain. What becomes of a recipient is known by `campaigning`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from aiohttp import web

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.engine.service import Service
from smsd.listeners import campaign_terms, campaigning
from smsd.listeners.auditing import audited
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.handing import BrokenOffError, Recipients, Unreadable
from smsd.listeners.http import reading
from smsd.listeners.http.batch import LINES
from smsd.listeners.http.batch_limits import BatchLimits
from smsd.listeners.http.bodies import check_json, check_plain, invite
from smsd.listeners.http.inflow import BROKEN, STOPPING, EndingError, Inflow
from smsd.listeners.http.performing import Call, Desk
from smsd.listeners.http.problems import reply
from smsd.listeners.http.splitting import Lines, Piece

PATIENCE_S: Final = 1.0
"""An answer that comes before the end of its body waits for that while it moves, and so long when it does not: less
than a door waits that is closed."""

Pieces = AsyncGenerator[Piece, None]


async def create(desk: Desk, call: Call) -> web.StreamResponse:
    """Make a campaign. 202 when messages were accepted, 200 when none was: all were there, or it is only a plan."""
    texts, faults = dict[str, str](), list[Fault]()
    query = call.request.rel_url.raw_query_string
    if query:
        texts = reading.parameters(query, ("dry_run",), faults)
    if "Idempotency-Key" in call.request.headers:
        text = "a campaign is known by its `id`, and each of its messages by a key of its own: leave the header out"
        faults.append(Fault("Idempotency-Key", "invalid_value", f"`Idempotency-Key`: {text}"))
    given = reading.typed(call.operation.request, texts)
    if isinstance(given.get("dry_run"), str):
        faults.append(Fault("dry_run", "invalid_value", "`dry_run` is 1 or 0, or true or false"))
        del given["dry_run"]
    if _sends_lines(call.request):
        made = await _streamed(desk, call, given, faults)
    else:
        check_json(call.request)
        request = await _request(desk, call, await desk.bodies.read(call.request), given, faults)
        made = await call.operation.handler(desk.service, call.caller, request)
    is_new = isinstance(made, wire.CampaignMade) and (made.accepted or made.failed or made.created)
    return reply(wire.encode(made), 202 if is_new else 200)


def _sends_lines(request: web.Request) -> bool:
    charset = (request.charset or "utf-8").lower()
    return request.content_type in LINES and charset in {"utf-8", "utf8", "us-ascii"}


async def _request(
    desk: Desk, call: Call, body: bytes, given: dict[str, object], faults: list[Fault]
) -> wire.CampaignCreate:
    """The object, and what the query says. Raises ProblemError, wire.WireError with all that is wrong, also with what
    could be read beside it."""
    fields = {**(wire.decode_object(body) if body else {}), **given}
    try:
        return wire.build(wire.CampaignCreate, fields, faults)
    except wire.WireError as error:
        wrong = {fault.field for fault in error.faults}
        known = wire.fields_of(wire.CampaignCreate).keys() - wrong
        left = {name: value for name, value in fields.items() if name in known}
        if len(error.faults) >= wire.MAX_FAULTS:
            raise
        partial = wire.build(wire.CampaignCreate, left)
        others = await campaign_terms.all_faults_of(desk.service, call.caller, partial, wrong)
        raise ProblemError(*error.joined(others)) from error


async def _streamed(desk: Desk, call: Call, given: dict[str, object], faults: list[Fault]) -> msgspec.Struct:
    """The same of lines."""
    check_plain(call.request)
    limits = desk.batch_limits
    if limits.together.ended:
        raise ProblemError(STOPPING)
    await invite(call.request)
    inflow = Inflow(call.request, limits)
    limits.together.on_end.add(inflow.hurry)
    try:
        async with aclosing(_pieces(inflow, limits)) as pieces:
            request = await _first(desk, call, pieces, given, faults)

            async def handler(service: Service, caller: Caller, asked: wire.CampaignCreate) -> msgspec.Struct:
                return await campaigning.created(service, caller, asked, _recipients(pieces))

            recorded = audited(call.operation.name, call.operation.scope, handler)
            return await recorded(desk.service, call.caller, request)
    finally:
        await inflow.drop(PATIENCE_S)
        limits.together.on_end.discard(inflow.hurry)


async def _first(
    desk: Desk, call: Call, pieces: Pieces, given: dict[str, object], faults: list[Fault]
) -> wire.CampaignCreate:
    """The line that says what holds for all."""
    try:
        piece = await anext(pieces, None)
    except BrokenOffError as error:
        raise ProblemError(error.fault) from None
    if piece is None:
        text = "The first line is the campaign, as an object; the recipients follow, one a line."
        raise ProblemError.of("malformed", text)
    if isinstance(piece, Fault):
        raise ProblemError(piece)
    request = await _request(desk, call, piece, given, faults)
    if request.recipients is not None:
        text = "`recipients` stand behind this line, one a line: remove it, or send all as application/json"
        raise ProblemError.of("invalid_value", text, "recipients")
    return request


async def _recipients(pieces: Pieces) -> Recipients:
    async for piece in pieces:
        if isinstance(piece, Fault):
            yield Unreadable((piece,))
            continue
        try:
            yield wire.campaign_recipient(piece)
        except wire.WireError as error:
            yield Unreadable(error.faults)


async def _pieces(inflow: Inflow, limits: BatchLimits) -> Pieces:
    """The lines, as they come. Raises BrokenOffError."""
    splitter, found = Lines(limits.line), 0
    try:
        while data := await inflow.more(found):
            for piece in splitter.feed(data):
                found += 1
                yield piece
                if limits.together.ended:
                    raise EndingError
        for piece in splitter.end():
            yield piece
    except EndingError:
        raise BrokenOffError(Fault("", "shutting_down", "smsd is shutting down.")) from None
    except TimeoutError:
        text = f"The body stood still for {limits.idle_s:g} s."
        raise BrokenOffError(Fault("", "malformed", text)) from None
    except (ConnectionError, *BROKEN):
        raise BrokenOffError(Fault("", "malformed", "The body's framing is broken; it cannot be read on.")) from None
