"""What may one client of the socket make the daemon hold?

Clients decide how much they send and when they read, so whatever that costs has a bound here. Who keeps to it is known
by `connection` (one client) and `unix` (all of a user); HTTP has bounds of its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the socket; bytes, seconds, counts."""

    line: int = 65_536
    """Bytes of a line without its newline; a longer one is answered and the connection closed."""
    in_flight: int = 1_000
    """Requests of a connection that are not answered; at the bound nothing more is read from it."""
    in_flight_all: int = 16_384
    """Requests under way of all connections together; at the bound each connection has one at a time."""
    unread: int = 524_288
    """Bytes of answers that a client has not read; above it nothing more is read from it, no operation begins."""
    unread_s: float = 30.0
    """A client that stays above that bound for so long is dropped; so is one that leaves the last answers unread."""
    connections: int = 1_024
    """Connections of one uid; above it the longest idle one is closed."""
    held: int = 67_108_864
    """Bytes held for one uid (received and not begun, answered and not read); above it who holds most is dropped."""
