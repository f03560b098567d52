"""Which faults can the stand-in be told to make, and what does it keep of a send?

Values only: a Rule is a fault and the requests it strikes, a Sent is one send as it arrived. Nothing here knows a
dialect or a socket.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

KINDS = frozenset(
    {
        "ok",  # no fault: use it with `listed=False` or `delay_ms`
        "answer",  # status, headers, body as given
        "code",  # the dialect's error body with `code` and `status`
        "throttle",  # 429 with the dialect's body; retry_after: "" none, "30", or "date" (30 s after the Date header)
        "hang",  # never answers
        "reset",  # RST after the request was read
        "close",  # FIN after the request was read
        "partial",  # status line, headers, half of the body, then RST
        "html",  # a proxy's 502 page
        "malformed",  # a 2xx with JSON that ends too early
        "garbage",  # bytes that are not HTTP
        "redirect",  # 307 to /elsewhere
        "oversized",  # a 2xx with 1 MiB of JSON
        "trickle",  # the right answer, one byte each `delay_ms`
    }
)


@dataclass(slots=True)
class Rule:
    """A fault, and the requests it strikes. All given conditions must hold; none given: every send."""

    kind: str
    on: str = "send"
    """"send" or "list"."""
    to: str | None = None
    """Recipient (E.164)."""
    nth: int | None = None
    """Only the n-th send (or list) of all, counted from 1."""
    every: int | None = None
    """Only each n-th."""
    times: int | None = None
    """How often it strikes before it is used up; None: for ever."""
    taken: bool = False
    """Whether the message is taken all the same (sent on, and in the list)."""
    listed: bool = True
    """False: a message that was taken is missing from the list."""
    delay_ms: int = 0
    status: int = 400
    code: int = 21211
    message: str = "scripted"
    retry_after: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    hex: str = ""
    """The body as hexadecimal digits, when it is not text."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(sorted(KINDS))}")
        if self.kind in {"ok", "oversized", "malformed", "trickle"}:
            self.taken = True

    def strikes(self, on: str, to: str, n: int) -> bool:
        return (
            self.times != 0
            and self.on == on
            and self.to in {None, to}
            and self.nth in {None, n}
            and (self.every is None or n % self.every == 0)
        )


class Sent(msgspec.Struct, gc=False):
    """One send as it arrived. `sid` is None when it was not taken (or had been taken before, by its key)."""

    n: int
    at_ns: int
    """CLOCK_MONOTONIC when the last byte of the request was read."""
    to: str
    """E.164, whatever the dialect writes."""
    sender: str
    body: str
    sid: str | None
    listed: bool
    fault: str
    """Kind of the rule that struck, "rate" for the rate, "" for none."""
    callback: str
    created: int
    """Unix time in seconds."""
    reference: str = ""
    """Our id, where the dialect has a field for it."""
    key: str = ""
    """The Idempotency-Key it came with."""

    def line(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"
