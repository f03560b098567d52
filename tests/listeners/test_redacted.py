"""What a caller is shown of a message whose text and number are not kept."""

from __future__ import annotations

from smsd.core.units import DAY, HOUR
from smsd.store.operators import RetentionRules
from tests.listeners.house import House

NUMBER = "+14155550123"


async def test_a_redacted_message_is_shown_without_text_and_not_sent_again(house: House) -> None:
    client = await house.client()
    sent = await client.ask(op="send", to=NUMBER, text="a secret", ttl="1m")
    house.clock.advance(2 * HOUR)
    await house.outbox.expire(house.clock.wall(), 10)
    house.clock.advance(2 * DAY)
    rules = RetentionRules(redact_ms=DAY)
    while not (await house.outbox.desk.removal.step(rules, house.clock.wall())).done:
        pass
    shown = (await client.ask(op="get", id=sent["id"]))["message"]
    assert (shown["state"], shown["text"], shown["redacted"]) == ("expired", None, True)
    assert shown["to"].startswith("#")
    listed = await client.ask(op="list", to=NUMBER)
    assert [(each["id"], each["text"]) for each in listed["items"]] == [(sent["id"], None)]
    refused = await client.ask(op="retry", id=sent["id"], force=True)
    assert refused["error"]["code"] == "wrong_state"
    assert "redacted" in refused["error"]["message"]
