"""How does a provider learn where to call us back?

Each webhook has a URL: `[http] public_url`, the provider's name, the kind, and the webhook_secret where there is one.
Some providers are told it by calls to their API: their dialect (`providers.base.Registrar`) names them one by one, and
they are performed here. At all others a person enters it, and is told what to enter. Secrets are never shown.

These calls carry no message: they are few, made when an operator asks for it, and count in no rate. It refuses to know
dialects and who may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from smsd.engine.carrier import Carrier
from smsd.engine.setting import Setting
from smsd.providers.base import (
    HookKind,
    HookUnreadableError,
    NoAnswer,
    NoConnection,
    Registrar,
    Request,
    Response,
    Webhooks,
)

__all__ = ["HookKind", "NotRegisteredError", "Registered", "Registering", "UnknownError"]

SECRET: Final = "<webhook_secret>"  # noqa: S105 - what is shown in its place
"""Stands for the secret in a URL that is shown."""

MOST_CALLS: Final = 110
PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of answers that may be others when they are asked for again."""

MOST_S: Final = 25.0
"""Of one registration: it lists page by page what is there already. Clients wait for 30 s."""

ENTER: Final = (
    "Enter `inbound` at the provider where texts to your numbers are to go, and `status` where delivery reports are to "
    "go, unless it takes that address with each message. Where that is: smsd help webhooks"
)


@dataclass(frozen=True, slots=True)
class Registered:
    """How a provider is called back, and whether it was told so just now."""

    webhooks: Mapping[str, str]
    """URL by kind, with SECRET for the secret; none that would not be answered."""
    needs: tuple[str, ...]
    """Keys that have to be set before it can call back."""
    done: bool
    """It was told by its API."""
    text: str
    """How that ended, or what a person is to do."""


class NotRegisteredError(Exception):
    """The provider could not be told. The text says why. `refused`: it said no, and will again until that is mended;
    else it may go well when it is repeated, and some of it may be done already."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class UnknownError(LookupError):
    """No such provider is configured."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"No provider {name[:64]!r} is configured. There are: {', '.join(known) or 'none'}.")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one provider calls back."""

    base: str = field(repr=False)
    """The URL without what differs by kind."""
    secret: str = field(repr=False)
    kinds: tuple[HookKind, ...]
    needs: tuple[str, ...]

    def url(self, kind: HookKind, *, shown: bool) -> str:
        secret = f"/{SECRET if shown else self.secret}" if self.secret else ""
        return f"{self.base}/{kind}{secret}"


class Registering:
    """The providers' webhooks, as operators set them up."""

    def __init__(self, carrier: Carrier, dice: Callable[[], float]) -> None:
        self._carrier = carrier
        self._dice = dice
        self._settings: Mapping[str, Setting] = {}
        self._public_url = ""

    def rule(self, settings: Iterable[Setting], public_url: str) -> None:
        """These providers are configured from now on, and this is where we are reached (empty: it is not known)."""
        self._settings = {setting.name: setting for setting in settings}
        self._public_url = public_url

    @property
    def names(self) -> tuple[str, ...]:
        """Every provider, the disabled ones included: what they took is not done yet, so they may call back."""
        return tuple(self._settings)

    def webhooks(self, name: str) -> Registered:
        """Where a provider calls back, and what is to be done about it. Raises UnknownError."""
        setting = self._setting(name)
        place = self._place(setting)
        if place.needs:
            return Registered({}, place.needs, False, f"Set {' and '.join(place.needs)} first (smsd help webhooks).")
        if not place.kinds:
            return Registered({}, (), False, f"smsd knows no webhooks of providers of type {setting.provider.type}.")
        if isinstance(setting.provider, Registrar):
            shown = {str(HookKind.STATUS): place.url(HookKind.STATUS, shown=True)}
            return Registered(shown, (), False, f"smsd sets this up by itself: smsd provider register {name}")
        return Registered({str(kind): place.url(kind, shown=True) for kind in place.kinds}, (), False, ENTER)

    async def register(self, name: str) -> Registered:
        """Let a provider know where to call back, by calls to its API if it takes them: one URL, by which everything
        comes. It may be repeated. Raises UnknownError, NotRegisteredError."""
        setting = self._setting(name)
        found, place = self.webhooks(name), self._place(setting)
        if not found.webhooks or not isinstance(setting.provider, Registrar):
            return found
        try:
            async with asyncio.timeout(MOST_S):
                text = await self._told(setting, place.url(HookKind.STATUS, shown=False))
        except TimeoutError:
            raise NotRegisteredError(f"The provider took longer than {MOST_S:g} s. Repeat it.") from None
        for secret in setting.webhook_secrets:
            text = text.replace(secret, SECRET)
        return Registered(found.webhooks, (), True, text)

    async def _told(self, setting: Setting, url: str) -> str:
        """Tell it one URL; how that ended."""
        dialect = setting.provider
        assert isinstance(dialect, Registrar)
        known: dict[str, Response] = {}
        passing = False
        for _ in range(MOST_CALLS):
            try:
                following = dialect.registration(url, known)
            except HookUnreadableError as error:
                raise NotRegisteredError(str(error), refused=not passing) from error
            if isinstance(following, str):
                return following
            response = await self._response(setting, following)
            known[f"{following.method} {following.url}"] = response
            passing = response.status in PASSING
        raise NotRegisteredError("It came to no end; nothing more was asked of the provider.", refused=True)

    async def _response(self, setting: Setting, request: Request) -> Response:
        answer = await self._carrier.send(setting.provider, request, setting.rules.timeout_ms, self._dice())
        match answer.outcome:
            case Response():
                return answer.outcome
            case NoConnection(detail):
                raise NotRegisteredError(f"No connection to the provider: {detail}. Repeat it.")
            case NoAnswer(detail):
                raise NotRegisteredError(f"The provider gave no readable answer: {detail}. Repeat it.")

    def _setting(self, name: str) -> Setting:
        if name not in self._settings:
            raise UnknownError(name, self._settings)
        return self._settings[name]

    def _place(self, setting: Setting) -> _Place:
        dialect = setting.provider
        kinds = tuple(kind for kind in HookKind if isinstance(dialect, Webhooks) and kind in dialect.hooks)
        needs = ["[http] public_url"] if kinds and not self._public_url else []
        if kinds and isinstance(dialect, Webhooks) and not dialect.signs and not setting.webhook_secret:
            needs.append(f"[providers.{setting.name}] webhook_secret")
        return _Place(f"{self._public_url}/webhooks/{setting.name}", setting.webhook_secret, kinds, tuple(needs))
