"""What does a text that came in change, and how are texts that came in listed?

Functions of an open connection. arrive() is one step of a transaction: the text, the suppression it makes or lifts and
what its tenant's application is told are there together or not at all, so that a provider may bring a text as often as
it likes. A text that is known changes nothing: a START that is brought again after a later STOP lifts nothing.

Whose a text is, is read from `threads`, which is written when messages are sent. Who gets a text without a thread is
told (Arrival.owner). A listing looks at a bounded number of rows and hands a place back, as `reading` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from smsd.core.consent import Word
from smsd.core.message import Instant
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR
from smsd.store.connection import Handle
from smsd.store.incoming import Arrival, Arrived, Inbound
from smsd.store.optouts import OptOuts
from smsd.store.rows import storable
from smsd.store.statements import arrays, grouped
from smsd.store.telling import Teller

SOURCE: Final = "inbound"
"""Where a suppression comes from that a STOP made."""

OPERATOR: Final = "operator"
"""Where one comes from that a START does not lift everywhere."""

QUIET_MS: Final = HOUR
"""A HELP is news when its writer sent none to this provider for so long: two machines that answer each other stop."""

HELPS_LOOKED_AT: Final = 1_000
"""Of the newest texts of a writer, when a HELP is looked for."""

ROWS_LOOKED_AT: Final = 20_000
"""What one page of a listing looks at, at most."""

PAGE_CHARS: Final = 262_144
"""Characters of texts in one page; one that holds more ends early."""

_COLUMNS: Final = (
    "nr, id, provider, provider_message_id, sender, recipient, text, tenant, message, word, news, sent_at, "
    "received_at, redacted"
)
"""In the order of Inbound's fields."""

_KNOWN: Final = f"SELECT {_COLUMNS} FROM inbound WHERE provider = ? AND provider_message_id = ?"

_THREAD: Final = "SELECT tenant, message FROM threads WHERE recipient = ? AND sender = ?"

_LAST_THREAD: Final = (
    "SELECT tenant, message FROM threads WHERE recipient = ? AND provider = ? ORDER BY at DESC, message DESC LIMIT 1"
)
"""There are as many for a recipient as there are senders that texted it."""

_LATE_HELP: Final = (
    "SELECT 1 FROM (SELECT provider, word, received_at FROM inbound INDEXED BY inbound_sender "
    "WHERE sender = ? ORDER BY nr DESC LIMIT ?) WHERE provider = ? AND word = ? AND received_at BETWEEN ? AND ? LIMIT 1"
)

_SCOPES: Final = "SELECT scope, source FROM suppressions WHERE number = ? ORDER BY scope"

_KEEP: Final = (
    "INSERT INTO inbound (id, provider, provider_message_id, sender, recipient, text, tenant, message, word, news, "
    "sent_at, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING nr"
)

_MAX_INTEGER: Final = 2**63 - 1


def arrive(db: Handle, optouts: OptOuts, teller: Teller, arrival: Arrival) -> Arrived:
    """Keep a text, with all that follows from it. See Outbox.arrive."""
    known = db.execute(_KNOWN, (arrival.provider, storable(arrival.provider_message_id))).fetchone()
    if known is not None:
        return Arrived(_inbound(known), first=False)
    sender = storable(arrival.sender) or ""
    tenant, message = _whose(db, arrival, sender)
    suppressed, lifted, news = _follow(db, optouts, arrival, sender)
    values = (
        arrival.id,
        arrival.provider,
        storable(arrival.provider_message_id),
        sender,
        storable(arrival.recipient),
        storable(arrival.text),
        tenant,
        message,
        None if arrival.word is None else arrival.word.value,
        int(news),
        arrival.sent_at,
        arrival.received_at,
    )
    nr = db.execute(_KEEP, values).fetchone()[0]
    kept = _inbound((nr, *values, 0))
    teller.arrived(db, kept)
    return Arrived(kept, first=True, suppressed=suppressed, lifted=lifted)


def _whose(db: Handle, arrival: Arrival, sender: str) -> tuple[str, str | None]:
    """The tenant that gets it, and the id of the message that it seems to answer.

    Where the two numbers have no message between them and the number is nobody's own, the provider may have chosen a
    number of its own for the message: then it is the last one that went to this person by this provider.
    """
    found = db.execute(_THREAD, (sender, storable(arrival.recipient))).fetchone()
    if found is None and not arrival.owned:
        found = db.execute(_LAST_THREAD, (sender, arrival.provider)).fetchone()
    return (arrival.owner, None) if found is None else (found[0], found[1])


def _follow(db: Handle, optouts: OptOuts, arrival: Arrival, sender: str) -> tuple[bool, tuple[str, ...], bool]:
    """What its word does: whether a suppression came, the scopes of those that went, and whether it is to be answered.

    Only a number can be suppressed, or answered; what a name or a short code says changes nothing.
    """
    if not sender.startswith("+"):
        return False, (), False
    match arrival.word:
        case Word.STOP:
            stop = Suppression(arrival.provider, sender, arrival.received_at, SOURCE)
            suppressed = optouts.add(db, [stop]) == 1
            return suppressed, (), suppressed
        case Word.START:
            lifted, stays = _lift(db, optouts, arrival.provider, sender)
            return False, lifted, bool(lifted) and not stays
        case Word.HELP:
            return False, (), not _asked_lately(db, arrival, sender)
        case None:
            return False, (), False


def _lift(db: Handle, optouts: OptOuts, provider: str, sender: str) -> tuple[tuple[str, ...], bool]:
    """The scopes in which it is suppressed no more, and whether it still is by an operator's word, everywhere."""
    found = [
        (scope, source) for scope, source in db.execute(_SCOPES, (sender,)).fetchall() if scope in {provider, EVERY}
    ]
    lifted = tuple(scope for scope, source in found if scope == provider or source != OPERATOR)
    for scope in lifted:
        optouts.lift(db, scope, sender)
    return lifted, len(lifted) < len(found)


def _asked_lately(db: Handle, arrival: Arrival, sender: str) -> bool:
    """By a clock that may have been set back since, hence the window to both sides."""
    at = arrival.received_at
    values = (sender, HELPS_LOOKED_AT, arrival.provider, Word.HELP.value, at - QUIET_MS, at + QUIET_MS)
    return db.execute(_LATE_HELP, values).fetchone() is not None


def inbound(
    db: Handle,
    tenant: str | None,
    senders: tuple[str, str] | None,
    recipient: str | None,
    since: Instant | None,
    before: int | None,
    limit: int,
) -> tuple[tuple[Inbound, ...], int | None]:
    """A page of texts received, newest first, and the place of the next. See Records.inbound. `senders`: who wrote
    them, and what stands for that number in redacted ones."""
    top = _MAX_INTEGER if before is None else before
    index, base, narrowed = _way(tenant, senders)
    floor = db.execute(
        f"SELECT nr FROM inbound {index} WHERE {base}nr < ? ORDER BY nr DESC LIMIT 1 OFFSET ?",
        (*narrowed, top, ROWS_LOOKED_AT - 1),
    ).fetchone()
    conditions = [("tenant = ?", tenant), ("recipient = ?", recipient), ("received_at >= ?", since)]
    also = "".join(f"AND {text} " for text, value in conditions if value is not None)
    values = [value for _, value in conditions if value is not None]
    page = f"SELECT * FROM inbound {index} WHERE {base}nr < ? AND nr >= ? {also}ORDER BY nr DESC LIMIT ?"
    source = f"(SELECT *, sum(length(text)) OVER (ORDER BY nr DESC) - length(text) AS beyond FROM ({page}))"
    found = arrays(
        db,
        grouped(f"{_COLUMNS}, beyond", source),
        (*narrowed, top, 0 if floor is None else floor[0], *values, limit),
    )
    items = tuple(_inbound(row) for row in found if row[-1] < PAGE_CHARS)
    if items and (len(items) < len(found) or len(found) == limit):
        return items, items[-1].nr
    return items, None if floor is None else floor[0]


def _way(tenant: str | None, senders: tuple[str, str] | None) -> tuple[str, str, list[str]]:
    """By which index a page is read: its name, the condition that it serves, and that one's values."""
    if senders is not None:
        return "INDEXED BY inbound_sender", "sender IN (?, ?) AND ", [*senders]
    if tenant is not None:
        return "INDEXED BY inbound_tenant", "tenant = ? AND ", [tenant]
    return "NOT INDEXED", "", []


def _inbound(row: Sequence[Any]) -> Inbound:
    """A row of _COLUMNS."""
    return Inbound(
        nr=row[0],
        id=row[1],
        provider=row[2],
        provider_message_id=row[3],
        sender=row[4],
        recipient=row[5],
        text=row[6],
        tenant=row[7],
        message=row[8],
        word=None if row[9] is None else Word(row[9]),
        news=bool(row[10]),
        sent_at=row[11],
        received_at=row[12],
        redacted=bool(row[13]),
    )
