"""What does a limit on a tenant cost while a great backlog waits behind it, and does anybody else notice?

A tenant with far more messages than it may send stands in the outbox of a real daemon. Nothing may be written for those
that wait, they may cost neither memory nor processor, and an urgent message of another tenant leaves at once.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.daemon.harness import Client, Site, fresh, until

RATE = 10
"""A second, of the tenant whose messages wait."""

ROWS_A_MESSAGE = 8
"""Written for one that is sent: claim, charge, attempt, settlement; and some room."""


SLACK_S = 0.3
"""From a claim to its arrival, at most, on a machine that others share."""


def limited(site: Site) -> None:
    """A daemon whose tenants may send ten a second each, by a carrier that takes everything."""
    carrier = site.carrier()
    limit = {"per": "tenant", "rate": f"{RATE}/s", "action": "defer"}
    site.configure(carrier.url, sections={"[limits]": limit}, rate="2000/s")
    site.start()


def fill(client: Client, count: int) -> None:
    """So many messages of one tenant, pipelined."""
    done = 0
    while done < count:
        some = [fresh() for _ in range(min(500, count - done))]
        client.write(
            *({"to": to, "text": text, "tenant": "mass", "priority": "bulk"} for to, text in some),
        )
        for _ in some:
            assert client.read()["ok"]
        done += len(some)


def rows_written(client: Client) -> float:
    """Rows that the outbox has committed so far."""
    text = client.ask("metrics")["text"]
    found = re.search(r"^smsd_outbox_batch_rows_sum ([0-9.e+]+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def cpu_s(pid: int) -> float:
    """Processor time the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def took_s(client: Client, **fields: str) -> float:
    """Seconds from the submission of a message until it is sent."""
    began = time.monotonic()
    id = client.send(**fields)
    seen = client.ask("get", id=id, wait="20s")["message"]
    assert seen["state"] == "sent", seen
    return time.monotonic() - began


@pytest.mark.parametrize("count", [8_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_tenant_far_above_its_limit_is_nobodys_burden(site: Site, count: int) -> None:
    limited(site)
    assert site.process is not None
    pid = site.process.pid
    with site.client() as client:
        fill(client, count)
        time.sleep(2)  # what acceptance left to do (checkpoints) is done
        rows, cpu, sent, began = rows_written(client), cpu_s(pid), client.states()["sent"], time.monotonic()
        time.sleep(3)
        rows, cpu = rows_written(client) - rows, cpu_s(pid) - cpu
        sent, took = client.states()["sent"] - sent, time.monotonic() - began
        print(
            f"\n{count} wait: {sent} sent in {took:.1f} s, {rows:.0f} rows written, "
            f"{100 * cpu / took:.1f} % of a core, {memory_mib(pid):.0f} MiB"
        )
        assert 0 < sent <= RATE * (took + 1)
        assert rows <= ROWS_A_MESSAGE * (sent + RATE)
        urgent = max(took_s(client, tenant="care", priority="high") for _ in range(3))
        print(f"urgent messages of another tenant: {1_000 * urgent:.0f} ms at most")
        assert urgent < 1
        seen = client.ask("list", tenant="mass", state="pending", limit=1)["items"][0]
        assert seen["waiting"]["reason"] == "tenant_limit", seen["waiting"]
        assert seen["waiting"]["until"] is not None


def test_the_limit_holds_through_kills(site: Site) -> None:
    limited(site)
    with site.client() as client:
        fill(client, 400)
    for _ in range(3):
        time.sleep(0.7)
        site.kill()
        site.start()
    carrier = site.carriers[0]
    until(lambda: len(carrier.calls()) >= 60, "sixty are sent")
    site.stop()
    with closing(sqlite3.connect(site.state / "outbox.db")) as db:
        charged = [at / 1e6 for (at,) in db.execute("SELECT boot_us FROM charges ORDER BY boot_us")]
    assert len(charged) >= 60
    assert spans(charged) >= 1
    # A call follows its claim within moments, so arrivals may bunch by as much.
    assert spans(sorted(call["at_ns"] / 1e9 for call in carrier.calls())) >= 1 - SLACK_S


def spans(times: list[float]) -> float:
    """The shortest time from one to the one that may not stand in its window any more."""
    return min(later - first for first, later in zip(times, times[RATE:], strict=False))
