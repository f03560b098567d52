"""Whose is a text without a conversation, and what is said to a STOP?"""

from __future__ import annotations

from smsd.core.acceptance import MessageRules, Origin, accept
from smsd.core.consent import Word, keyword
from smsd.core.inbound import DEFAULT_OWNER, REPLIES, InboundRules, holder_of, made_up_id, reply
from smsd.core.message import Draft, MessageId, Priority
from smsd.core.routing import Candidate, Routes
from smsd.core.submission import TenantRules
from smsd.core.units import HOUR

OURS = "+15005550006"
WRITER = "+14155550123"
NOW = 1_790_000_000_000


def test_a_number_is_its_tenants_if_it_is_of_one_alone() -> None:
    tenants = {
        "free": TenantRules(),
        "shop": TenantRules((OURS, "12345")),
        "bank": TenantRules(("12345", "+15005550009")),
    }
    rules = InboundRules("desk")
    assert [rules.owner_of(number, tenants) for number in (OURS, "+15005550009")] == ["shop", "bank"]
    assert holder_of("12345", tenants) is None, "of two"
    assert [rules.owner_of(number, tenants) for number in ("12345", "+15005550001", "")] == ["desk"] * 3
    assert InboundRules().owner_of(OURS, {}) == DEFAULT_OWNER == "default"


def test_a_made_up_id_is_that_of_the_content_and_the_time() -> None:
    usual = (WRITER, OURS, "STOP", NOW)
    assert made_up_id(*usual) == made_up_id(*usual)
    others = [(OURS, WRITER, "STOP", NOW), (WRITER, OURS, "STOP ", NOW), (WRITER, OURS, "STOP", NOW + 1)]
    others += [(WRITER + OURS, "", "STOP", NOW), (WRITER, OURS, "half \ud83c", NOW)]
    assert len({made_up_id(*each) for each in (usual, *others)}) == 1 + len(others)


def test_a_reply_is_an_ordinary_submission_with_one_key_for_each_text() -> None:
    routes = Routes([Candidate("main", (OURS,)), Candidate("second", (OURS,))], "")
    for word in Word:
        submission = reply("text-1", word, WRITER, OURS, "second", REPLIES[word])
        draft = accept(submission, MessageRules(), routes, Origin("shop"), NOW, MessageId("m"), b"hash")
        assert isinstance(draft, Draft), draft
        assert (draft.recipient, draft.sender, draft.route, draft.pinned) == (WRITER, OURS, "second", True)
        assert (draft.tenant, draft.type, draft.priority, draft.segments) == ("shop", "consent", Priority.HIGH, 1)
        assert (draft.idempotency_key, draft.expires_at) == (f"inbound:text-1:{word.value}", NOW + HOUR)
        assert keyword(draft.text) is None, "a machine that answers it is not answered again"
    assert reply("1", Word.HELP, WRITER, "", "main", "?").from_ is None
