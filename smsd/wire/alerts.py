"""How is it asked which alerts are raised, and how is it told?

Names and types only. An alert's words hold no text of a message and no whole number.
"""

from __future__ import annotations

import msgspec

from smsd.wire.requests import Request


class Alerts(Request):
    """Which alerts are raised, and which were lately."""


class AlertView(msgspec.Struct):
    """One alert. `name`: `backlog`, `auth_halt:main` ...; `state`: `raised` or `cleared`; `category`: an error category
    where one stands behind it, else what is watched; `text`: what is, or was, wrong; `remedy`: null when it is over.
    `value`: what was read when it was raised (a share, a count, or ms), and the `bound` it came to: null if an smsd
    raised it that did not keep them."""

    name: str
    state: str
    category: str
    raised_at: str
    cleared_at: str | None
    text: str
    remedy: str | None
    value: float | None
    bound: float | None


class AlertList(msgspec.Struct):
    """Those that are raised, oldest first, then those that are over, latest end first: at most 50 of these."""

    items: list[AlertView]
