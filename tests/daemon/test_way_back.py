"""Is nothing lost on the way back when the daemon is killed at any moment?

Real process, two real providers (a Twilio that signs, an API of nobody's that comes by a secret path), a real
application. While messages go out, receipts come in and callbacks go out, `kill -9` strikes again and again. A receipt
that was answered 200 is never repeated, so each of them must count. Every callback must arrive, each time with the same
id and the same body, and the Standard Webhooks library must believe it.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.daemon.harness import Carrier, Json, Site, fresh, until
from tests.daemon.way_back import PATH_SECRET, PUBLIC, SECRET, Receiver, Reporter, arrives, gateway

KILLS = 3


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def prepare(site: Site, receiver: Receiver) -> Carrier:
    carrier = site.carrier("--latency-ms", "5")
    door = {**site.with_http(), "public_url": PUBLIC}
    site.configure(
        carrier.url,
        sections={
            "http": door,
            "retry": {"budget": False},
            "callbacks": {"secret": SECRET, "allow_private": ["127.0.0.0/8"], "per_host": 16},
            f'tenants."local:{os.getuid()}"': {"callback_url": receiver.url},
            "providers.plain": gateway(carrier.url),
        },
        rate="600/s",
    )
    return carrier


def submit(site: Site, url: str, count: int) -> dict[str, str]:
    """Half by each provider; of one provider half tell their own URL. Id -> text."""
    texts: dict[str, str] = {}
    with site.client() as client:
        for provider in ("main", "plain"):
            for own in ({}, {"callback_url": f"{url}?own=1"}):
                some = [fresh() for _ in range(count // 4)]
                client.write(*({"to": to, "text": text, "provider": provider, **own} for to, text in some))
                for _, text in some:
                    answer = client.read()
                    assert answer["ok"], answer
                    texts[answer["id"]] = text
    return texts


def under_fire(site: Site, carrier: Carrier, reporter: Reporter, expected: int) -> None:
    """Kill the daemon whenever another share of the receipts is in; then let all of them come in."""
    dice = random.Random(6)
    for n in range(KILLS):
        share = expected * (n + dice.random()) / KILLS

        def enough(share: float = share) -> bool:
            reporter.about(carrier.calls())
            return reporter.answered >= share

        until(enough, f"{share:.0f} receipts are answered; so far {reporter.statuses}")
        site.kill()
        time.sleep(0.1)
        site.start()

    def all_in() -> bool:
        with site.client() as client:
            sending = client.open_count()
        reporter.about(carrier.calls())
        return not sending and reporter.idle

    until(all_in, "every message is sent and every receipt is answered", 60)


def test_receipts_and_callbacks_survive_kills(site: Site, receiver: Receiver, request: pytest.FixtureRequest) -> None:
    messages = 2_500 if request.config.getoption("--long", default=False) else 300
    carrier = prepare(site, receiver)
    site.start()
    reporter = Reporter(site.port, 6)
    try:
        texts = submit(site, receiver.url, messages)
        under_fire(site, carrier, reporter, 2 * messages)
    finally:
        reporter.close()
    ends = {id: "delivered" if arrives(text) else "undelivered" for id, text in texts.items()}
    with site.client() as client:
        assert {view["id"]: view["state"] for view in client.views()} == ends
    finals = {f"evt_{id}_0_{state}" for id, state in ends.items()}
    until(lambda: finals <= receiver.ids(), "the end of every message is told", 60)
    until(lambda: not waiting(site), "no callback waits", 60)
    assert site.stop() == 0
    check(site, receiver, ends)
    refused = {status for status in reporter.statuses if status not in {0, 200, 503}}
    assert refused == set(), reporter.statuses
    assert reporter.statuses[0] > 0, "no kill met a receipt: the test proves nothing"
    assert PATH_SECRET not in site.log()
    assert SECRET not in site.log()


def check(site: Site, receiver: Receiver, ends: dict[str, str]) -> None:
    """What the application was told is what happened."""
    assert receiver.forged == []
    bodies = receiver.bodies()
    assert [id for id, found in bodies.items() if len(set(found)) > 1] == [], "a repeat says what the first one said"
    assert any(len(found) > 1 for found in bodies.values())
    said = {(event["type"], event["data"]["id"], event["data"]["state"]) for event in events(receiver)}
    assert {each for each in said if each[2] not in {"sent", ends[each[1]]}} == set()
    assert {each for each in said if each[0] != f"message.{each[2]}"} == set()
    sent = {f"evt_{line['id']}_0_sent" for line in site.events("message.sent")}
    assert sent - bodies.keys() == set()
    assert bodies.keys() - {f"evt_{id}_0_{state}" for id, end in ends.items() for state in ("sent", end)} == set()


def events(receiver: Receiver) -> list[Json]:
    return [each.said for each in receiver.told]


def waiting(site: Site) -> int:
    """Callbacks that are still to be told, or that were given up."""
    with closing(sqlite3.connect(f"file:{site.state}/outbox.db?mode=ro", uri=True, timeout=5)) as database:
        return int(database.execute("SELECT count(*) FROM callbacks").fetchone()[0])
