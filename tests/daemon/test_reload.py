"""Can the configuration change under load, without a dropped connection, a refused submission or a lost message?

Real process, real provider: while submissions stream in by socket and by HTTP, rates, limits, providers, tokens and
logging change again and again, by SIGHUP and by command. Then everything accepted has reached its phone exactly once.
"""

from __future__ import annotations

import http.client
import signal
import threading
import time
from functools import partial
from typing import Any

import pytest

from tests.daemon.harness import PATIENCE_S, Json, Load, Site, ask_http, exactly_once, fresh, until

RELOADS = 100


def write(site: Site, url: str, turn: int = 0, **http: Json) -> None:
    """The configuration of one turn: every second one differs in whatever may change while running."""
    odd = turn % 2 == 1
    sections: dict[str, Json] = {
        "http": site.with_http(shop={"tenant": "shop"}, root={"scopes": ["send", "read", "admin"]}, **http),
        "messages": {"max_segments": 3 + turn % 2},
        "outbox": {"min_free": "0B", "ballast": "1MiB", "max_backlog": 1_000_000 + turn},
        "logging": {"format": "json", "level": "info" if odd else "debug"},
        "tenants.shop": {"max_priority": "high" if odd else "normal"},
    }
    if turn % 3 == 1:
        sections["providers.spare"] = {"type": "sandbox", "rate": "100/s", "from": "+15005550099"}
    site.configure(
        url, sections=sections, rate="900/s" if odd else ["1000/s", "50000/min"], max_in_flight=32 + turn % 2
    )


def heeded(site: Site, turn: int) -> bool:
    """Whether so many reloads are told."""
    return len(site.events("config.reloaded")) >= turn


class HttpLoad(threading.Thread):
    """Submits over one kept HTTP connection until stopped; a connection that is dropped is a failure."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_S)
        self._stopping = threading.Event()
        self.promised: dict[str, tuple[str, str]] = {}
        self.failures: list[object] = []

    def run(self) -> None:
        self._connection.connect()
        kept = self._connection.sock
        try:
            while not self._stopping.is_set():
                to, text = fresh()
                status, answer = ask_http(
                    self._connection, "POST", "/v1/messages", {"to": to, "text": text}, token="shop"
                )
                if status == 202:
                    self.promised[answer["id"]] = (to, text)
                else:
                    self.failures.append(answer)
            if self._connection.sock is not kept:
                self.failures.append("the connection was dropped")
        except Exception as error:
            self.failures.append(error)
        finally:
            self._connection.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()


def test_a_hundred_reloads_under_load_refuse_and_lose_nothing(site: Site) -> None:
    carrier = site.carrier("--latency-ms", "20")
    write(site, carrier.url)
    site.start()
    load, by_http = Load(site.socket), HttpLoad(site)
    with site.client() as kept:
        load.start()
        by_http.start()
        for turn in range(1, RELOADS + 1):
            write(site, carrier.url, turn)
            if turn % 2:
                answer = kept.ask("reload")
                assert answer["ok"], answer
                assert "messages.max_segments" in answer["changed"], answer
                assert answer["restart"] == []
            else:
                site.signal(signal.SIGHUP)
                until(partial(heeded, site, turn), "the signal was heeded")
        time.sleep(0.2)
        load.stop()
        by_http.stop()
        assert by_http.failures == []
        assert load.refused == []
        promised = {**load.promised, **by_http.promised}
        assert len(load.promised) > 200
        assert len(by_http.promised) > 100
        site.settled()
        assert kept.ask("ping")["ok"], "the first connection still answers"
        views = {view["id"]: view for view in kept.views()}
    assert {views[id]["state"] for id in promised} == {"sent"}
    # The spare one stands first in the file while it is there, and takes what comes then.
    by_main = [each for id, each in promised.items() if views[id]["provider"] == "main"]
    assert 0 < len(by_main) < len(promised)
    lost, doubled = exactly_once(by_main, carrier.taken())
    assert (lost, doubled) == ([], [])
    assert sum(carrier.taken().values()) == len(by_main)
    assert len(site.events("config.reloaded")) == RELOADS
    print(f"\n{RELOADS} reloads, {len(promised)} messages, none refused, lost or doubled")


def test_a_bad_file_changes_nothing_and_says_everything(site: Site) -> None:
    carrier = site.carrier()
    write(site, carrier.url)
    site.start()
    good = site.config.read_text()
    site.config.write_text(good.replace('rate = ["1000/s", "50000/min"]', 'rate = "fast"') + "\n[nonsense]\nx = 1\n")
    with site.client() as client:
        answer = client.ask("reload")
        assert not answer["ok"]
        fields = {fault["field"] for fault in answer["error"]["errors"]}
        assert fields == {"providers.main.rate", "nonsense"}
        assert client.ask("providers")["providers"][0]["rate"] == 50_000
        client.send()
    site.signal(signal.SIGHUP)
    until(lambda: len(site.events("config.rejected")) == 2, "the second refusal is told too")
    site.config.write_text(good)
    status, answer = site.http("POST", "/v1/reload", token="root")
    assert (status, answer["changed"], answer["restart"]) == (200, [], [])


def test_tokens_and_tenants_change_without_a_restart(site: Site) -> None:
    carrier = site.carrier()
    write(site, carrier.url)
    site.start()
    to, text = fresh()
    urgent = {"to": to, "text": text, "priority": "high"}
    assert site.http("POST", "/v1/messages", urgent, token="shop")[0] == 403
    assert site.http("GET", "/v1/ping", token="late")[0] == 401
    write(site, carrier.url, 1, late={})
    status, answer = site.http("POST", "/v1/reload", token="root")
    assert status == 200
    assert {"http.tokens.late", "tenants.shop.max_priority"} <= set(answer["changed"]), answer
    assert site.http("POST", "/v1/messages", urgent, token="shop")[0] == 202
    assert site.http("GET", "/v1/ping", token="late")[0] == 200


def test_what_needs_a_restart_is_named_and_keeps_being_named(site: Site) -> None:
    carrier = site.carrier()
    write(site, carrier.url)
    site.start()
    site.config.write_text(site.config.read_text().replace('ballast = "1MiB"', 'ballast = "2MiB"'))
    with site.client() as client:
        for _ in range(2):
            answer: dict[str, Any] = client.ask("reload")
            assert (answer["changed"], answer["restart"]) == ([], ["outbox.ballast"])


@pytest.mark.parametrize("rate", ["20/s", "1/s"])
def test_a_lowered_rate_holds_at_the_carrier_from_the_reload_on(site: Site, rate: str) -> None:
    carrier = site.carrier()
    site.configure(carrier.url, rate="200/s")
    site.start()
    with site.client() as client:
        client.send_many(2_000)
        until(lambda: carrier.stats()["sends"] > 100, "it runs")
        site.configure(carrier.url, rate=rate)
        assert client.ask("reload")["ok"]
        before = len(carrier.calls())
        time.sleep(3)
        arrived = [call["at_ns"] // 1_000 for call in carrier.calls()]
        limit = int(rate.split("/", maxsplit=1)[0])
        late = arrived[before + 1 :]
        assert late, "it goes on"
        for at in late:
            assert sum(at - 1_000_000 < each <= at for each in arrived) <= limit
