"""Is a provider told where to call back, by exactly the calls its dialect names, and is no secret shown?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace
from smsd.core.receipt import ReceiptReading
from smsd.engine.exchange import Answer
from smsd.engine.registering import ENTER, MOST_CALLS, HookKind, NotRegisteredError, Registering, UnknownError
from smsd.engine.setting import Setting
from smsd.providers.base import (
    Hook,
    HookAnswer,
    HookUnreadableError,
    InboundText,
    NoAnswer,
    NoConnection,
    Outcome,
    Provider,
    Report,
    Request,
    Response,
)
from smsd.providers.sandbox import Sandbox

URL = "https://sms.example.org"
API = "https://api.example.org/webhooks"
SECRET = "a-secret-of-this-test"


@dataclass(frozen=True)
class Calling(Sandbox):
    """A dialect with webhooks."""

    signs: ClassVar[bool] = False
    hooks: ClassVar[frozenset[HookKind]] = frozenset(HookKind)
    hook_answer: ClassVar[HookAnswer] = HookAnswer()
    reports_by_id: ClassVar[bool] = False
    answers_words: ClassVar[bool] = False

    def verify(self, hook: Hook) -> None:
        raise AssertionError("nothing comes in here")

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        raise AssertionError("nothing comes in here")

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        return None


@dataclass(frozen=True)
class Signed(Calling):
    """One whose provider signs."""

    signs: ClassVar[bool] = True


@dataclass(frozen=True)
class Setup(Signed):
    """One that is set up in two calls."""

    def registration(self, url: str, known: Mapping[str, Response]) -> Request | str:
        first, second = f"GET {API}", f"POST {API}"
        if first not in known:
            return Request("GET", API, {}, b"")
        if known[first].status == 401:
            raise HookUnreadableError("The key must be an administrator's.")
        if known[first].status != 200:
            raise HookUnreadableError(f"HTTP {known[first].status}")
        if second not in known:
            return Request("POST", API, {}, url.encode())
        return f"Webhook {known[second].body.decode()} was made for {url}."


@dataclass(frozen=True)
class Endless(Setup):
    """One that never comes to an end."""

    def registration(self, url: str, known: Mapping[str, Response]) -> Request | str:
        return Request("GET", f"https://api.example.org/{len(known)}", {}, b"")


@dataclass
class Performing:
    """A carrier that answers as it is told, then with 200."""

    outcomes: list[Outcome] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        self.sent.append(request)
        outcome = self.outcomes.pop(0) if self.outcomes else Response(200, {}, b"7")
        return Answer(outcome, 1, request)


def setting(name: str, provider: Provider, secret: str = "") -> Setting:
    return replace(Setting(name, provider, ProviderRules(Pace())), webhook_secret=secret)


def registering(carrier: Performing, *settings: Setting, public_url: str = URL) -> Registering:
    found = Registering(carrier, lambda: 0.5)
    found.rule(settings, public_url)
    return found


def test_the_urls_of_a_provider() -> None:
    found = registering(Performing(), setting("main", Signed("main"))).webhooks("main")
    assert found.webhooks == {"status": f"{URL}/webhooks/main/status", "inbound": f"{URL}/webhooks/main/inbound"}
    assert (found.needs, found.done, found.text) == ((), False, ENTER)


def test_a_secret_is_not_shown() -> None:
    made = registering(Performing(), setting("main", Calling("main"), SECRET))
    assert made.webhooks("main").webhooks["inbound"] == f"{URL}/webhooks/main/inbound/<webhook_secret>"
    assert SECRET not in repr(made.webhooks("main"))


def test_what_is_missing_is_named_and_no_url_is_told_that_would_not_be_answered() -> None:
    carrier = Performing()
    found = registering(carrier, setting("main", Calling("main")), public_url="").webhooks("main")
    assert (dict(found.webhooks), found.needs) == ({}, ("[http] public_url", "[providers.main] webhook_secret"))
    assert all(need in found.text for need in found.needs)
    assert registering(carrier, setting("main", Signed("main")), public_url="").webhooks("main").needs == (
        "[http] public_url",
    )


def test_a_provider_that_never_calls_back() -> None:
    found = registering(Performing(), setting("main", Sandbox("main"))).webhooks("main")
    assert (dict(found.webhooks), found.needs) == ({}, ())
    assert "type sandbox" in found.text


async def test_a_dialects_calls_are_made_in_order_until_it_is_done() -> None:
    carrier = Performing()
    made = registering(carrier, setting("main", Setup("main"), SECRET))
    assert "smsd provider register main" in made.webhooks("main").text
    assert carrier.sent == [], "nobody is called before it is asked for"
    found = await made.register("main")
    assert [each.method for each in carrier.sent] == ["GET", "POST"]
    assert carrier.sent[1].body == f"{URL}/webhooks/main/status/{SECRET}".encode(), "the provider is told the secret"
    assert found.done
    assert found.text == f"Webhook 7 was made for {URL}/webhooks/main/status/<webhook_secret>."
    assert list(found.webhooks) == ["status"], "all comes by this one"
    assert SECRET not in repr(found)


async def test_none_of_several_secrets_is_shown_and_the_first_is_told() -> None:
    carrier = Performing([Response(200, {}, b"7"), Response(200, {}, b"an-older-secret")])
    made = registering(carrier, replace(setting("main", Setup("main"), SECRET), older_secrets=("an-older-secret",)))
    found = await made.register("main")
    assert carrier.sent[1].body.endswith(SECRET.encode())
    assert found.text.startswith("Webhook <webhook_secret> was made for")


async def test_a_provider_without_such_an_api_is_not_called() -> None:
    carrier = Performing()
    found = await registering(carrier, setting("main", Signed("main"))).register("main")
    assert (carrier.sent, found.done, found.text) == ([], False, ENTER)
    missing = await registering(carrier, setting("main", Setup("main")), public_url="").register("main")
    assert (carrier.sent, missing.done, missing.needs) == ([], False, ("[http] public_url",))


@pytest.mark.parametrize(
    ("outcome", "text", "refused"),
    [
        (NoConnection("refused"), "No connection to the provider: refused. Repeat it.", False),
        (NoAnswer("reset"), "The provider gave no readable answer: reset. Repeat it.", False),
        (Response(401, {}, b""), "The key must be an administrator's.", True),
        (Response(503, {}, b""), "HTTP 503", False),
        (Response(429, {}, b""), "HTTP 429", False),
    ],
)
async def test_what_goes_wrong_is_told(outcome: Outcome, text: str, refused: bool) -> None:
    carrier = Performing([outcome])
    with pytest.raises(NotRegisteredError) as caught:
        await registering(carrier, setting("main", Setup("main"))).register("main")
    assert (str(caught.value), caught.value.refused, len(carrier.sent)) == (text, refused, 1)


async def test_a_dialect_without_an_end_is_ended() -> None:
    carrier = Performing()
    with pytest.raises(NotRegisteredError):
        await registering(carrier, setting("main", Endless("main"))).register("main")
    assert len(carrier.sent) == MOST_CALLS


async def test_a_name_that_is_none() -> None:
    made = registering(Performing(), setting("main", Setup("main")))
    with pytest.raises(UnknownError, match="There are: main"):
        await made.register("x")
    made.rule([setting("x", Setup("x"))], URL)
    assert (await made.register("x")).done, "a reload brings it"
