"""What becomes a message, what does not, and that everything wrong with it is said at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.acceptance import (
    MAX_AHEAD_MS,
    MAX_METADATA,
    MAX_TTL_MS,
    Fault,
    MessageRules,
    Origin,
    Refusal,
    accept,
    end_of_life,
    tenant_of,
)
from smsd.core.callback import CallbackRules
from smsd.core.content import MAX_VARS
from smsd.core.message import Draft, Encoding, MessageId, Priority
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.routing import Candidate, Routes
from smsd.core.units import DAY, HOUR, instant, rfc3339

NOW = 1_790_000_000_000
ID = MessageId("01990000-0000-7000-8000-000000000000")
TO = "+14155550123"
ME = Origin("local:1000")
ADMIN = Origin("local:0", may_set_tenant=True)
ROUTES = Routes((Candidate("main", ("+15005550006", "ACME")), Candidate("spare", ("+15005550007",))), "")
RULES = MessageRules(profiles={"patient": 12})


@dataclass
class Sub:
    """A submission as a door hands it over."""

    to: str | None = TO
    text: str | None = "hello"
    template: str | None = None
    vars: dict[str, object] | None = None
    lang: str | None = None
    from_: str | None = None
    priority: str | None = None
    send_at: str | None = None
    ttl: str | None = None
    expires_at: str | None = None
    idempotency_key: str | None = None
    campaign: str | None = None
    user: str | None = None
    type: str | None = None
    metadata: dict[str, str] | None = field(default=None)
    tenant: str | None = None
    provider: str | None = None
    callback_url: str | None = None
    max_attempts: int | None = None
    retry: str | None = None
    overflow: str | None = None


def taken(rules: MessageRules = RULES, routes: Routes = ROUTES, origin: Origin = ME, /, **fields: Any) -> Draft:
    found = accept(Sub(**fields), rules, routes, origin, NOW, ID)
    assert isinstance(found, Draft), found
    return found


def refused(rules: MessageRules = RULES, routes: Routes = ROUTES, origin: Origin = ME, /, **fields: Any) -> Refusal:
    found = accept(Sub(**fields), rules, routes, origin, NOW, ID)
    assert isinstance(found, Refusal), found
    assert found.faults
    return found


def test_the_least_that_can_be_asked() -> None:
    assert taken() == Draft(
        id=ID,
        recipient=TO,
        text="hello",
        tenant="local:1000",
        route="main,spare",
        priority=Priority.NORMAL,
        created_at=NOW,
        due=NOW,
        expires_at=NOW + 3 * DAY,
        segments=1,
        encoding=Encoding.GSM7,
        length=5,
        max_attempts=5,
    )


def test_the_most_that_can_be_asked() -> None:
    found = accept(
        Sub(
            to="+1 (415) 555-0123",
            text="h€llo ж",
            from_=" ACME ",
            priority="high",
            send_at=rfc3339(NOW + HOUR),
            ttl="2h",
            idempotency_key="order 17",
            user="u1",
            type="reminder",
            campaign="autumn 2026",
            metadata={"order": "17"},
            tenant="shop",
            provider="main",
            max_attempts=2,
            retry="patient",
            overflow="truncate",
        ),
        RULES,
        ROUTES,
        ADMIN,
        NOW,
        ID,
        b"hash",
    )
    assert found == Draft(
        id=ID,
        recipient=TO,
        text="h€llo ж",
        tenant="shop",
        route="main",
        priority=Priority.HIGH,
        created_at=NOW,
        due=NOW + HOUR,
        expires_at=NOW + 3 * HOUR,
        segments=1,
        encoding=Encoding.UCS2,
        length=7,
        max_attempts=2,
        sender="ACME",
        send_at=NOW + HOUR,
        pinned=True,
        user="u1",
        type="reminder",
        campaign="autumn 2026",
        profile="patient",
        metadata={"order": "17"},
        idempotency_key="order 17",
        content_hash=b"hash",
    )


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"to": None}, "to", "missing_field"),
    ({"to": "12"}, "to", "invalid_recipient"),
    ({"to": ""}, "to", "invalid_recipient"),
    ({"text": None}, "text", "missing_field"),
    ({"text": ""}, "text", "invalid_value"),
    ({"text": " \n "}, "text", "invalid_value"),
    ({"text": "a\x00b"}, "text", "invalid_value"),
    ({"text": "a\tb"}, "text", "invalid_value"),
    ({"text": "a\fb"}, "text", "invalid_value"),
    ({"text": "a\x1bb"}, "text", "invalid_value"),
    ({"text": "a\x85b"}, "text", "invalid_value"),
    ({"text": "a\ud83db"}, "text", "invalid_value"),
    ({"text": "a" * 460}, "text", "text_too_long"),
    ({"text": None, "template": "t"}, "template", "invalid_value"),
    ({"vars": {"a": 1}}, "vars", "invalid_value"),
    ({"lang": "en"}, "lang", "invalid_value"),
    ({"from_": "A-B"}, "from", "invalid_sender"),
    ({"from_": "+15005550099"}, "from", "no_route"),
    ({"priority": "urgent"}, "priority", "invalid_value"),
    ({"send_at": "tomorrow"}, "send_at", "invalid_value"),
    ({"send_at": "2026-12-01T10:00:00"}, "send_at", "invalid_value"),
    ({"send_at": rfc3339(NOW + MAX_AHEAD_MS + 1)}, "send_at", "invalid_value"),
    ({"ttl": "2"}, "ttl", "invalid_value"),
    ({"ttl": "0s"}, "ttl", "invalid_value"),
    ({"ttl": "31d"}, "ttl", "invalid_value"),
    ({"ttl": "1h", "expires_at": rfc3339(NOW + HOUR)}, "ttl", "invalid_value"),
    ({"expires_at": "soon"}, "expires_at", "invalid_value"),
    ({"expires_at": rfc3339(NOW)}, "expires_at", "invalid_value"),
    ({"expires_at": rfc3339(NOW + MAX_TTL_MS + 1)}, "expires_at", "invalid_value"),
    ({"send_at": rfc3339(NOW + HOUR), "expires_at": rfc3339(NOW + HOUR)}, "expires_at", "invalid_value"),
    ({"idempotency_key": ""}, "idempotency_key", "invalid_value"),
    ({"idempotency_key": "k" * 256}, "idempotency_key", "invalid_value"),
    ({"idempotency_key": "a\nb"}, "idempotency_key", "invalid_value"),
    ({"user": "u" * 129}, "user", "invalid_value"),
    ({"type": "t" * 65}, "type", "invalid_value"),
    ({"metadata": {"a": "b" * 2048}}, "metadata", "invalid_value"),
    ({"metadata": {"a": "\ud800"}}, "metadata", "invalid_value"),
    ({"tenant": "other"}, "tenant", "not_allowed"),
    ({"provider": "gone"}, "provider", "no_route"),
    ({"provider": "spare", "from_": "ACME"}, "from", "no_route"),
    ({"campaign": ""}, "campaign", "invalid_value"),
    ({"campaign": "c" * 129}, "campaign", "invalid_value"),
    ({"campaign": "a\nb"}, "campaign", "invalid_value"),
    ({"callback_url": "https://example.com"}, "callback_url", "not_available"),
    ({"callback_url": ""}, "callback_url", "invalid_value"),
    ({"callback_url": "ftp://example.com"}, "callback_url", "invalid_value"),
    ({"callback_url": "https://example.com/#x"}, "callback_url", "invalid_value"),
    ({"callback_url": "https://u:p@example.com"}, "callback_url", "invalid_value"),
    ({"callback_url": f"https://example.com/{'x' * 2048}"}, "callback_url", "invalid_value"),
    ({"callback_url": "https://bücher.example/"}, "callback_url", "invalid_value"),
    ({"max_attempts": 0}, "max_attempts", "invalid_value"),
    ({"max_attempts": 21}, "max_attempts", "invalid_value"),
    ({"retry": "nobody"}, "retry", "invalid_value"),
    ({"overflow": "wrap"}, "overflow", "invalid_value"),
]


@pytest.mark.parametrize(("fields", "name", "code"), BAD, ids=[f"{name}-{i}" for i, (_, name, _) in enumerate(BAD)])
def test_what_is_refused(fields: dict[str, Any], name: str, code: str) -> None:
    (fault,) = refused(**fields).faults
    assert (fault.field, fault.code) == (name, code)
    assert len(fault.message) < 250
    assert ":" in fault.message or ";" in fault.message or "must" in fault.message


def test_all_faults_are_reported_together() -> None:
    found = refused(
        to="12", text="\x00", from_="A-B", priority="urgent", send_at="x", ttl="x", idempotency_key="", campaign="\0",
        user="", type="", metadata={"a": "b" * 3000}, tenant="x", callback_url="y", max_attempts=99, retry="z",
        overflow="w",
    )  # fmt: skip
    assert [fault.field for fault in found.faults] == [
        "to", "overflow", "text", "from", "send_at", "ttl", "priority", "retry", "max_attempts", "tenant",
        "idempotency_key", "user", "type", "campaign", "metadata", "callback_url",
    ]  # fmt: skip


def test_a_fault_repeats_short_values_only() -> None:
    assert "got 'urgent'" in refused(priority="urgent").faults[0].message
    assert "xxx" not in refused(priority="x" * 33).faults[0].message
    assert "secret" not in refused(text="secret" * 200).faults[0].message


@pytest.mark.parametrize(
    ("fields", "depends"),
    [
        ({"from_": "+15005550099"}, True),
        ({"provider": "gone"}, True),
        ({"retry": "nobody"}, True),
        ({"text": "a" * 500}, True),
        ({"tenant": "other"}, True),
        ({"to": "2025550199"}, True),
        ({"expires_at": rfc3339(NOW - 1)}, True),
        ({"provider": "gone", "priority": "urgent"}, False),
        ({"callback_url": "https://example.com"}, True),
        ({"callback_url": "example.com"}, False),
        ({"to": "+12"}, False),
        ({"text": ""}, False),
        ({"send_at": rfc3339(NOW + HOUR), "expires_at": rfc3339(NOW)}, False),
    ],
)
def test_whether_the_submission_itself_is_at_fault(fields: dict[str, Any], depends: bool) -> None:
    assert refused(**fields).depends_on_configuration is depends


def test_times() -> None:
    past = taken(send_at=rfc3339(NOW - HOUR), ttl="1h")
    assert (past.send_at, past.due, past.expires_at) == (NOW - HOUR, NOW, NOW + HOUR)
    later = taken(send_at=rfc3339(NOW + DAY), expires_at=rfc3339(NOW + DAY + 1))
    assert (later.send_at, later.due, later.expires_at) == (NOW + DAY, NOW + DAY, NOW + DAY + 1)
    assert taken(send_at=rfc3339(NOW + DAY)).expires_at == NOW + 4 * DAY


class TestCallbackUrl:
    RULES = MessageRules(
        callbacks=CallbackRules(secrets={"local:1000": ("whsec_x",)}, allowed=(ip_network("10.0.0.0/8"),))
    )

    def test_it_is_kept_as_it_was_submitted(self) -> None:
        url = "https://Shop.example/told?order=17"
        assert taken(self.RULES, callback_url=url).callback_url == url
        assert taken(self.RULES).callback_url is None

    @pytest.mark.parametrize("host", ["10.1.2.3", "[::ffff:10.1.2.3]"])
    def test_a_private_host_that_is_allowed(self, host: str) -> None:
        assert taken(self.RULES, callback_url=f"http://{host}/").callback_url == f"http://{host}/"

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
    def test_a_private_host_that_is_not(self, host: str) -> None:
        refusal = refused(self.RULES, callback_url=f"http://{host}/")
        assert [(fault.field, fault.code) for fault in refusal.faults] == [("callback_url", "not_allowed")]
        assert refusal.depends_on_configuration

    def test_a_tenant_without_a_secret(self) -> None:
        found = accept(Sub(callback_url="https://a.example"), self.RULES, ROUTES, Origin("other"), NOW, ID)
        assert isinstance(found, Refusal)
        (fault,) = found.faults
        assert (fault.field, fault.code, fault.circumstantial) == ("callback_url", "not_available", True)
        both = replace(self.RULES, callbacks=replace(self.RULES.callbacks, secret=("whsec_y",)))
        found = accept(Sub(callback_url="https://a.example"), both, ROUTES, Origin("other"), NOW, ID)
        assert isinstance(found, Draft)


class Greeting:
    """A template of another make than the operator's: acceptance knows only what it may ask."""

    def render(self, vars: Mapping[str, object], lang: str | None) -> str | tuple[Fault, ...]:
        if "name" not in vars:
            return (Fault("vars.name", "missing_field", "`vars.name` is missing: the template needs it", True),)
        return f"{lang or 'Hello'} {vars['name']}"


class TestTemplates:
    RULES = MessageRules(templates={"greeting": Greeting()})

    def test_what_it_gives_is_the_text(self) -> None:
        draft = taken(self.RULES, text=None, template="greeting", vars={"name": "Ann"}, lang="de-CH")
        assert (draft.text, draft.length) == ("de-CH Ann", 9)
        assert taken(self.RULES, text=None, template="greeting", vars={"name": 2.5}).text == "Hello 2.5"

    @pytest.mark.parametrize(
        ("fields", "named", "depends"),
        [
            ({"template": "other", "vars": {"name": "Ann"}}, [("template", "invalid_value")], True),
            ({"template": "greeting"}, [("vars.name", "missing_field")], True),
            ({"template": "greeting", "vars": {"name": "\t"}}, [("template", "invalid_value")], True),
            ({"template": "greeting", "vars": {"name": "a" * 460}}, [("template", "text_too_long")], True),
            ({"template": "greeting", "vars": {"name": "Ann"}, "text": "x"}, [("template", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": ["Ann"]}}, [("vars.name", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": None}}, [("vars.name", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": {"a": 1}}}, [("vars.name", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": 10**400}}, [("vars.name", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": float("inf")}}, [("vars.name", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name\n": []}}, [("vars", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": "Ann"}, "lang": "de_DE"}, [("lang", "invalid_value")], False),
            ({"template": "greeting", "vars": {"name": "Ann"}, "lang": ""}, [("lang", "invalid_value")], False),
            (
                {"template": "greeting", "vars": {"nome": "Ann"}, "lang": "!!"},
                [("lang", "invalid_value"), ("vars.name", "missing_field")],
                False,
            ),
            ({"vars": {"name": "Ann"}}, [("vars", "invalid_value"), ("text", "missing_field")], False),
            ({"lang": "de", "text": "x"}, [("lang", "invalid_value")], False),
        ],
    )
    def test_what_is_refused(self, fields: dict[str, Any], named: list[tuple[str, str]], depends: bool) -> None:
        found = refused(self.RULES, **{"text": None, **fields})
        assert [(fault.field, fault.code) for fault in found.faults] == named
        assert found.depends_on_configuration is depends
        assert all("Ann" not in fault.message for fault in found.faults)

    def test_vars_at_their_bound(self) -> None:
        room = MAX_VARS - len(json.dumps({"name": ""}, separators=(",", ":")))
        rules = MessageRules(max_segments=0, templates=self.RULES.templates)
        assert taken(rules, text=None, template="greeting", vars={"name": "é" * (room // 2)})
        (fault,) = refused(rules, text=None, template="greeting", vars={"name": "é" * (room // 2) + "ab"}).faults
        assert (fault.field, str(MAX_VARS) in fault.message) == ("vars", True)

    def test_an_answer_names_some_of_very_many(self) -> None:
        found = refused(self.RULES, text=None, template="greeting", vars={f"n{n}": [] for n in range(500)})
        assert len(found.faults) == 8

    def test_it_is_cut_as_any_text(self) -> None:
        rules = MessageRules(overflow="truncate", truncate_chars=20, templates=self.RULES.templates)
        draft = taken(rules, text=None, template="greeting", vars={"name": "a" * 100})
        assert (draft.text, draft.truncated) == ("Hello aaaaaaaaaaa...", True)


class TestQuietHours:
    """NOW is early in the morning in California."""

    RULES = MessageRules(quiet=QuietBook(QuietHours(21 * 60, 8 * 60), {"night shift": None}, UTC))
    MORNING = instant("2026-09-21T08:00:00-07:00")

    def test_it_is_due_when_they_end_and_says_why(self) -> None:
        draft = taken(self.RULES)
        assert (draft.due, draft.held, draft.held_by) == (self.MORNING, "quiet_hours", "21:00-08:00")
        assert (draft.send_at, draft.expires_at) == (None, NOW + self.RULES.ttl_ms), "its life is as long as ever"

    def test_what_cannot_wait_does_not(self) -> None:
        draft = taken(self.RULES, priority="high")
        assert (draft.due, draft.held, draft.held_by) == (NOW, None, None)

    def test_the_first_moment_asked_for_is_judged(self) -> None:
        day, night = "2026-09-21T12:00:00-07:00", "2026-09-22T02:00:00-07:00"
        assert (taken(self.RULES, send_at=day).due, taken(self.RULES, send_at=day).held) == (instant(day), None)
        late = taken(self.RULES, send_at=night, ttl="1h")
        assert late.due == self.MORNING + DAY
        assert late.send_at == instant(night)
        assert late.expires_at == instant(night) + HOUR, "it expires before they end, which is what was asked for"

    def test_a_tenants_own_count(self) -> None:
        assert taken(self.RULES, ROUTES, Origin("night shift")).held is None


def test_end_of_life_for_a_retry() -> None:
    assert end_of_life(None, None, NOW, NOW, HOUR) == NOW + HOUR
    assert end_of_life("90s", None, NOW, NOW, HOUR) == NOW + 90_000
    assert isinstance(end_of_life(None, rfc3339(NOW - 1), NOW, NOW, HOUR), Fault)


def test_national_numbers_need_a_region() -> None:
    assert taken(MessageRules(default_region="US"), to="(415) 555-0123").recipient == TO
    assert "[messages] default_region" in refused(to="(415) 555-0199").faults[0].message


def test_attempts() -> None:
    assert taken(retry="patient").max_attempts == 12
    assert taken(retry="patient", max_attempts=3).max_attempts == 3
    assert taken(MessageRules(max_attempts=7)).max_attempts == 7


def test_an_own_tenant_may_be_named() -> None:
    assert taken(tenant="local:1000").tenant == "local:1000"
    assert tenant_of(Sub(tenant="shop"), ADMIN) == "shop"
    assert isinstance(tenant_of(Sub(tenant=""), ADMIN), Fault)


def test_routes() -> None:
    assert taken(from_="+15005550007").route == "spare"
    assert not taken(from_="+15005550007").pinned
    assert taken(provider="spare").route == "spare"
    (none,) = refused(RULES, Routes((), "")).faults
    assert (none.field, none.code) == ("provider", "no_route")
    (mute,) = refused(RULES, Routes((Candidate("mute", needs_sender=True),), "")).faults
    assert (mute.field, mute.code, mute.circumstantial) == ("from", "missing_field", True)


@pytest.mark.parametrize(
    ("rules", "length", "kept"),
    [
        (MessageRules(), 459, 459),
        (MessageRules(), 460, None),
        (MessageRules(max_chars=480, max_segments=0), 480, 480),
        (MessageRules(max_chars=480, max_segments=0), 481, None),
        (MessageRules(overflow="truncate"), 460, 459),
        (MessageRules(overflow="truncate", max_chars=200), 201, 200),
        (MessageRules(overflow="truncate", truncate_chars=160), 160, 160),
        (MessageRules(overflow="truncate", truncate_chars=160), 161, 160),
        (MessageRules(overflow="truncate", truncate_chars=160, max_chars=160), 500, 160),
        (MessageRules(overflow="truncate", truncate_chars=160, max_chars=480), 480, 160),
        (MessageRules(overflow="truncate", truncate_chars=160, max_chars=480), 481, None),
        (MessageRules(overflow="truncate", truncate_chars=800), 800, 459),
        (MessageRules(truncate_chars=160), 161, 161),
    ],
)
def test_overflow(rules: MessageRules, length: int, kept: int | None) -> None:
    text = "a" * length
    if kept is None:
        (fault,) = refused(rules, text=text).faults
        assert fault.code == "text_too_long"
        return
    found = taken(rules, text=text)
    assert (found.length, found.truncated) == (kept, kept < length)
    assert found.text == (text if kept == length else "a" * (kept - 3) + "...")


def test_the_caller_chooses_the_overflow() -> None:
    assert taken(overflow="truncate", text="a" * 500).truncated
    assert refused(MessageRules(overflow="truncate"), overflow="reject", text="a" * 500)


def test_smart_encoding() -> None:
    text = "“Hi”" + "a" * 80
    assert taken(text=text).encoding is Encoding.UCS2
    smart = taken(MessageRules(smart_encoding=True), text=text)
    assert (smart.encoding, smart.segments, smart.text[:4]) == (Encoding.GSM7, 1, '"Hi"')


def test_a_text_of_which_smart_encoding_leaves_nothing() -> None:
    invisible = "\u200b" * 71
    assert taken(text=invisible)
    (fault,) = refused(MessageRules(smart_encoding=True), text=invisible).faults
    assert (fault.field, fault.code) == ("text", "invalid_value")


def test_metadata_at_its_bound() -> None:
    assert taken(metadata={"a": "\x01" * 340})
    assert refused(metadata={"a": "\x01" * 341})
    assert taken(metadata={"a": "é" * 1020})
    assert refused(metadata={"a": "é" * 1020 + '"'})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=40), st.text(max_size=120), max_size=30))
def test_metadata_is_weighed_as_json(metadata: dict[str, str]) -> None:
    found = accept(Sub(metadata=metadata), RULES, ROUTES, ME, NOW, ID)
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    assert isinstance(found, Draft) is (size <= MAX_METADATA)


@settings(max_examples=200, deadline=None)
@given(st.builds(Sub, *[st.none() | st.text(max_size=30)] * 2, from_=st.none() | st.text(max_size=12),
                 send_at=st.none() | st.text(max_size=30), ttl=st.none() | st.text(max_size=6),
                 expires_at=st.none() | st.text(max_size=30), idempotency_key=st.none() | st.text(max_size=9),
                 max_attempts=st.none() | st.integers()))  # fmt: skip
def test_nothing_a_caller_writes_raises(submission: Sub) -> None:
    found = accept(submission, RULES, ROUTES, ME, NOW, ID)
    if isinstance(found, Draft):
        assert found.due >= NOW
        assert found.expires_at > found.due
        assert found.text.encode()
