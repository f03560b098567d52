"""Does the real daemon write down what its operators do, also when they ask by a signal, and keep it over a kill?"""

from __future__ import annotations

import os
import signal

from tests.daemon.harness import Client, Json, Site, until


def lines(client: Client) -> list[Json]:
    """Oldest first, without the reading of them."""
    answer = client.ask("audit", limit=1_000)
    assert answer["ok"], answer
    return [item for item in answer["items"][::-1] if item["operation"] != "audit"]


def outcomes(client: Client) -> list[tuple[str, str, str]]:
    return [(line["who"], line["operation"], line["outcome"]) for line in lines(client)]


def test_signals_refusals_and_kills(site: Site) -> None:
    carrier = site.carrier()
    site.configure(carrier.url)
    site.start()
    with site.client() as client:
        assert client.ask("suppress", number="+12013000001")["ok"]
        assert not client.ask("retry", id="none")["ok"]
        site.signal(signal.SIGHUP)
        until(lambda: len(outcomes(client)) == 3 and outcomes(client)[-1][-1] == "done", "the reload is written down")
        site.config.write_text(site.config.read_text() + "\n[nonsense]\n")
        site.signal(signal.SIGHUP)
        until(lambda: outcomes(client)[-1][-1] == "invalid_value", "the refused one too")
        before = lines(client)
        # Before the kill: the log is written a moment later, and unlike the outbox it may lose its last lines.
        until(lambda: len(site.events("operator.acted")) >= 4, "the log tells of each")
    assert [(line["who"], line["operation"], line["subject"], line["outcome"]) for line in before[:2]] == [
        (f"uid {os.getuid()}", "suppress", "+1201*****01", "done"),
        (f"uid {os.getuid()}", "retry", "none", "not_found"),
    ]
    assert [(line["who"], line["operation"]) for line in before[2:]] == [("signal", "reload")] * 2
    site.configure(carrier.url)
    site.kill()
    site.start()
    with site.client() as client:
        assert lines(client) == before
