"""What does the log say of receivers that do not work, and how much of it?

One line when a place begins to rest, and one when it has answered again: an operator must see it, and a log must not be
filled by a tenant that names very many hosts. So in each minute there are at most MOST_LINES; what was left out is
counted in the next line. It refuses to know when a place rests (`core.calling`).
"""

from __future__ import annotations

from typing import Final

import structlog

from smsd.clock import Clock

log = structlog.get_logger("smsd.callbacks")

MOST_LINES: Final = 20
"""In a minute."""

MINUTE_US: Final = 60_000_000


class Receivers:
    """Says it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_us: int | None = None
        self._lines = 0
        self._left_out = 0

    def is_down(self, tenant: str, origin: str, why: str, rest_us: int) -> None:
        """`why`: of its last failure, without the URL."""
        if self._may_say():
            log.warning(
                "a receiver does not work: its callbacks wait, and it is tried now and then",
                tenant=tenant,
                origin=origin,
                why=why,
                rest_s=rest_us // 1_000_000,
                **self._untold(),
            )

    def works(self, tenant: str, origin: str) -> None:
        """It answered, for the first time since it was down."""
        if self._may_say():
            log.info("a receiver works again", tenant=tenant, origin=origin, **self._untold())

    def _may_say(self) -> bool:
        now_us = self._clock.boot()
        if self._since_us is None or now_us - self._since_us >= MINUTE_US:
            self._since_us, self._lines = now_us, 0
        if self._lines >= MOST_LINES:
            self._left_out += 1
            return False
        self._lines += 1
        return True

    def _untold(self) -> dict[str, int]:
        left_out, self._left_out = self._left_out, 0
        return {"lines_left_out": left_out} if left_out else {}
