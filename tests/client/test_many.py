"""Does every item of send_many get its one result, in order, whatever happens on the way?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smsd.client import (
    WINDOW,
    Client,
    QueueUnavailable,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import Do, FakeDaemon


class TestMany:
    def test_results_come_in_order_and_one_bad_one_fails_alone(self, make: Any, fake: FakeDaemon) -> None:
        items = [{"to": TO if n % 100 else "bad", "text": f"{n}", "from_": "smsd"} for n in range(1_000)]
        items[7]["metadata"] = object()  # type: ignore[assignment]  # what JSON cannot carry
        results = list(make().send_many(items))
        assert [each["index"] for each in results] == [*range(1_000)]
        bad = [each["index"] for each in results if not each["ok"]]
        assert bad == [0, 7, *range(100, 1_000, 100)]
        assert results[100]["error"]["code"] == "invalid_recipient"
        assert [request["text"] for request in fake.requests] == [f"{n}" for n in range(1_000) if n != 7]
        assert results[1]["id"] in fake.messages
        assert list(make().send_many([])) == []

    def test_what_has_a_key_survives_a_loss_and_the_rest_is_told(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.extend([Do.PROPERLY] * 5 + [Do.ACT_AND_HANG_UP])
        items = [{"to": TO, "text": f"{n}", **({"idempotency_key": f"k{n}"} if n % 2 else {})} for n in range(20)]
        client = make()
        results = list(client.send_many(items))
        assert [each["index"] for each in results] == [*range(20)]
        assert all(each["ok"] for each in results if each["index"] % 2)
        unknown = [each["index"] for each in results if not each["ok"]]
        if isinstance(client, Client):
            assert set(unknown) >= {6, 8, 10, 12, 14, 16, 18}, "all had left; by AsyncClient some may go by the new one"
        assert set(unknown) <= {*range(0, 20, 2)}, "a reset can overtake answers that were on their way (unix(7))"
        assert {each["error"]["code"] for each in results if not each["ok"]} <= {"outcome_unknown"}
        texts = [message["text"] for message in fake.messages.values()]
        assert len(texts) == len(set(texts)), "nothing was taken twice"

    def test_a_daemon_that_is_gone_is_told_with_the_place(self, fake: FakeDaemon) -> None:
        results = []
        with (
            Client(fake.path, timeout=5) as client,
            pytest.raises(QueueUnavailable, match="Nothing was sent from index"),
        ):
            for result in client.send_many({"to": TO, "text": f"{n}"} for n in range(100_000)):
                results.append(result)
                if len(results) == 300:
                    fake.stop()
        taken = len(fake.messages)
        assert [each["index"] for each in results] == [*range(len(results))]
        assert taken <= len(results) <= taken + 2 * WINDOW
        lost = [each for each in results if not each["ok"]]
        assert lost, "what was on its way has a result each"
        assert {each["error"]["code"] for each in lost} <= {"outcome_unknown", "unreachable"}

    def test_nobody_there_at_all(self, tmp_path: Path) -> None:
        with Client(tmp_path / "none") as client:
            results = list(client.send_many([{"to": TO, "text": "Hello"}]))
            assert results[0]["error"]["code"] == "unreachable"
            with pytest.raises(QueueUnavailable, match="from index 256 on"):
                list(client.send_many({"to": TO, "text": "Hello"} for _ in range(300)))

    def test_a_silent_daemon_is_given_up(self, fake: FakeDaemon) -> None:
        fake.script.extend([Do.PROPERLY, Do.STALL])
        with Client(fake.path, timeout=0.1) as client:
            results = list(client.send_many({"to": TO, "text": "Hello"} for _ in range(3)))
        assert [each["ok"] for each in results] == [True, False, False]
        assert results[2]["error"]["code"] == "outcome_unknown"

    def test_other_calls_go_on_meanwhile(self, make: Any, fake: FakeDaemon) -> None:
        with Client(fake.path) as client:
            for result in client.send_many({"to": TO, "text": "Hello"} for _ in range(5)):
                assert client.get(result["id"])["id"] == result["id"]
