"""Which of several belongs to this recipient, now and the next time?

`pick` gives each of several names its share of all recipients and each recipient always the same name, without
anything being kept: by rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996;
with weights: -ln(u)/weight, of which the least wins with a probability in proportion to its weight). A name that comes
takes its share from all the others and nothing else moves; of one that goes only its own recipients move. `pool` says
which senders of a provider may stand in for one another. It refuses to know what providers are and what is sent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def pick(recipient: str, names: Sequence[str], weights: Sequence[int], purpose: bytes) -> str:
    """The name that this recipient belongs to. `weights`: as many as names, each at least 1.

    `purpose` (at most 16 bytes, see hashlib.blake2b's `person`) keeps choices of different kinds independent of one
    another. Of several equal names the first is taken. Raises ValueError when there is none.
    """
    times = [_time(recipient, name, purpose) / weight for name, weight in zip(names, weights, strict=True)]
    return names[times.index(min(times))]


def pool(senders: Sequence[str]) -> tuple[str, ...]:
    """Those of the same kind as the first: numbers, short codes, or names. A recipient who knows a number as the sender
    is not texted by a name because of a hash, and not every network carries every kind."""
    if len(senders) < 2:
        return tuple(senders)
    kind = _kind(senders[0])
    return tuple(sender for sender in senders if _kind(sender) == kind)


def _kind(sender: str) -> str:
    if sender.startswith("+"):
        return "number"
    return "code" if sender.isdecimal() else "name"


def _time(recipient: str, name: str, purpose: bytes) -> float:
    """Exponentially distributed with mean 1, and always the same for the same words. 52 bits, so that no rounding
    makes a 0 or a 1 of the draw."""
    digest = hashlib.blake2b(f"{name}\0{recipient}".encode(), digest_size=8, person=purpose).digest()
    return -math.log(((int.from_bytes(digest) >> 12) + 0.5) / 2**52)
