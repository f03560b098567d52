"""Does each of the daemon's error codes reach the caller as its own exception, with what to do about it?"""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from smsd.client import (
    KeyConflict,
    LimitExceeded,
    NotAllowed,
    NotFound,
    QueueUnavailable,
    SmsdError,
    SubmissionInvalid,
    WrongState,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import Do, FakeDaemon, RefusedError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_recipient", SubmissionInvalid),
        ("text_too_long", SubmissionInvalid),
        ("no_route", SubmissionInvalid),
        ("recipient_suppressed", SubmissionInvalid),
        ("not_available", SubmissionInvalid),
        ("backlog_full", QueueUnavailable),
        ("disk_full", QueueUnavailable),
        ("shutting_down", QueueUnavailable),
        ("outcome_unknown", QueueUnavailable),
        ("limit_exceeded", LimitExceeded),
        ("not_allowed", NotAllowed),
        ("unauthenticated", NotAllowed),
        ("not_found", NotFound),
        ("wrong_state", WrongState),
        ("key_conflict", KeyConflict),
        ("internal", SmsdError),
        ("unknown_op", SmsdError),
    ],
)
def test_each_code_is_its_own_kind(make: Any, fake: FakeDaemon, code: str, kind: type[SmsdError]) -> None:
    fake.refuse["send"] = RefusedError(code, "Because.", "to")
    with pytest.raises(SmsdError) as caught:
        make().send(TO, "Hello")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.message, error.field) == (code, "Because.", "to")
    assert error.errors == [{"code": code, "message": "Because.", "field": "to"}]
    assert str(error).startswith("Because.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.document(), copy.remedy) == (kind, error.document(), error.remedy)
    if isinstance(error, QueueUnavailable):
        assert error.maybe_taken is (code == "outcome_unknown")


def test_who_may_not_is_told_what_would_help_at_the_door_he_came_by(
    make_socket: Any, make_http: Any, fake: FakeDaemon
) -> None:
    fake.refuse["reload"] = RefusedError("not_allowed", "No.")
    remedies = []
    for make in (make_socket, make_http):
        with pytest.raises(NotAllowed) as caught:
            make().reload()
        remedies.append(caught.value.remedy)
    assert remedies == [
        "Ask as root, as the daemon's user, or as a member of its admin group.",
        "Use a token with the scope it needs, or one without a tenant.",
    ]


def test_when_a_limit_has_room_again_is_known_at_every_door(make: Any, fake: FakeDaemon) -> None:
    fake.refuse["send"] = RefusedError("limit_exceeded", "Enough.", "to", retry_after_s=1_800)
    client = make()
    with pytest.raises(LimitExceeded) as caught:
        client.send(TO, "Hello")
    assert caught.value.retry_after == 1_800
    assert caught.value.document()["retry_after_s"] == 1_800
    (line,) = client.send_many([{"to": TO, "text": "Hello"}])
    assert line["error"]["retry_after_s"] == 1_800
    fake.refuse["send"] = RefusedError("wrong_state", "No.", "id")
    with pytest.raises(WrongState) as other:
        client.send(TO, "Hello")
    assert (other.value.retry_after, "retry_after_s" in other.value.document()) == (None, False)


def test_what_is_wrong_with_a_campaign_names_the_command_that_shows_one(make: Any, fake: FakeDaemon) -> None:
    """Not the one that shows a message."""
    client = make()
    for code, shown in (("wrong_state", WrongState), ("key_conflict", KeyConflict)):
        fake.refuse["campaign_create"] = RefusedError(code, "No.", "id")
        with pytest.raises(shown) as caught:
            client.campaign_create("spring")
        assert "smsd campaign show ID" in caught.value.remedy
    fake.refuse["campaign_pause"] = RefusedError("wrong_state", "It is cancelled.", "id")
    fake.refuse["send"] = RefusedError("wrong_state", "Campaign spring is cancelled.", "campaign")
    with pytest.raises(WrongState) as paused:
        client.campaign_pause("spring")
    with pytest.raises(WrongState) as sent:
        client.send(TO, "Hi", campaign="spring")
    assert all("smsd campaign show ID" in refused.value.remedy for refused in (paused, sent))
    fake.refuse["cancel"] = RefusedError("wrong_state", "It is sent.", "id")
    with pytest.raises(WrongState) as of_message:
        client.cancel("x")
    assert "smsd show ID" in of_message.value.remedy


def test_of_a_campaign_whose_answer_was_lost_nobody_is_told_of_keys(make: Any, fake: FakeDaemon) -> None:
    """They are of messages."""
    client = make(timeout=0.2)
    for op in ("campaign_create", "campaign_cancel"):
        for script in ([Do.HANG_UP, Do.HANG_UP], [Do.STALL]):
            fake.script.extend(script)
            with pytest.raises(QueueUnavailable) as caught:
                client.call(op, id="spring")
            assert caught.value.maybe_taken
            assert caught.value.remedy.endswith("look first: smsd campaign.")
            fake.script.clear()
