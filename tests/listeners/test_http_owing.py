"""How much may be written to clients that do not read?"""

from __future__ import annotations

import asyncio
import socket

from smsd.listeners.http.access import Access
from smsd.listeners.http.door import HttpLimits
from smsd.listeners.http.owing import MAY_ADD, Debtor, Owing
from tests.listeners.house import House, until
from tests.listeners.http_rig import HttpClient, Rig, request, serving, token

UNIT = 1_000_000


class Deaf(Debtor):
    """Leaves so much unread, besides what may be added."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.dropped = False

    def unread(self) -> int:
        return self.size - MAY_ADD

    def drop(self) -> None:
        self.dropped = True


def owing_to(*debtors: tuple[str, Deaf]) -> Owing:
    owing = Owing(12 * UNIT, 5 * UNIT)
    for caller, debtor in debtors:
        owing.owes(debtor, caller)
    return owing


def test_of_one_caller_who_holds_most_is_dropped() -> None:
    mine = [Deaf(size * UNIT) for size in (1, 2, 1)]
    others = Deaf(4 * UNIT)
    owing = owing_to(("b", others), *(("a", each) for each in mine))
    assert owing.total == 8 * UNIT
    owing.owes(Deaf(2 * UNIT), "a")
    assert [each.dropped for each in mine] == [False, True, False]
    assert not others.dropped
    assert owing.total == 4 * UNIT + 2 * UNIT, "no more than half of the bound is left to a"


def test_of_all_the_caller_who_holds_most_is_relieved_first() -> None:
    small = [Deaf(UNIT) for _ in range(4)]
    large, newest = Deaf(3 * UNIT), Deaf(5 * UNIT)
    owing = owing_to(*(("small", each) for each in small), ("large", large), ("newest", newest))
    assert owing.total == 12 * UNIT
    owing.owes(Deaf(UNIT), "last")
    assert owing.total <= 6 * UNIT
    assert newest.dropped
    assert not large.dropped
    assert sum(each.dropped for each in small) == 2


def test_who_reads_owes_nothing() -> None:
    mine = [Deaf(2 * UNIT) for _ in range(2)]
    owing = owing_to(*(("a", each) for each in mine))
    owing.settled(mine[0])
    owing.settled(mine[0])
    assert owing.total == 2 * UNIT
    mine[1].size = UNIT
    late = Deaf(4 * UNIT)
    owing.owes(late, "a")
    assert not late.dropped, "the other had read a part meanwhile"
    assert owing.total == 5 * UNIT
    for each in (mine[1], late):
        owing.settled(each)
    assert (owing.total, owing._held, owing._sums, owing._callers) == (0, {}, {}, {})


def test_who_falls_further_behind_is_counted_anew() -> None:
    debtor = Deaf(UNIT)
    owing = owing_to(("a", debtor))
    debtor.size = 3 * UNIT
    owing.owes(debtor, "a")
    assert owing.total == 3 * UNIT
    debtor.size = 6 * UNIT
    owing.owes(debtor, "a")
    assert debtor.dropped
    assert owing.total == 0


async def deaf(rig: Rig, data: bytes) -> HttpClient:
    """A client that says this and reads nothing."""
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    ours.setblocking(False)
    await asyncio.get_running_loop().sock_connect(ours, rig.door.addresses[0])
    client = HttpClient(*await asyncio.open_connection(sock=ours, limit=1_024))
    client.deafen()
    client.say(data)
    return client


async def test_clients_that_read_nothing_are_dropped_and_no_other_caller_is(house: House) -> None:
    limits = HttpLimits(unread_of_one=4 * MAY_ADD, unread_s=60)
    async with serving(house, Access((token("ops"),)), limits=limits) as rig:
        page = len((await rig.ask("GET", "/openapi.json")).body)
        many = request("GET", "/openapi.json") * (12_000_000 // page)
        mine = await deaf(rig, request("GET", "/metrics", None, {"Authorization": "Bearer ops"}) * 1_000)
        await until(lambda: rig.door._owing.total > MAY_ADD, 10)
        clients = [await deaf(rig, many) for _ in range(10)]
        await until(lambda: rig.door.connections <= 5, 20)
        assert rig.door._owing._sums.keys() <= {"", "token ops"}
        assert rig.door._owing._sums["token ops"] > MAY_ADD
        assert rig.door._owing.total <= 6 * MAY_ADD + 2 * page
        assert (await rig.ask("GET", "/healthz")).status == 200
        for each in (*clients, mine):
            each.writer.transport.abort()
        await until(lambda: rig.door._owing.total == 0)
