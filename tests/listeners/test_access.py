"""Who is let in over HTTP, and who is not?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from multidict import CIMultiDict

from smsd.listeners.callers import ProblemError, Scope
from smsd.listeners.http.access import Access, Token, is_loopback, not_local
from tests.listeners.house import House
from tests.listeners.http_rig import ALL, ANYBODY, serving, token

SHOP = token("shop", Scope.SEND, Scope.READ, tenant="shop")
OPS = token("ops")
FORWARDED = (
    "X-Forwarded", "X-Original-Forwarded-For", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP",
    "X-Cluster-Client-IP", "Fly-Client-IP", "Fastly-Client-IP", "X-Envoy-External-Address", "X-Azure-ClientIP",
    "X-Appengine-User-Ip", "CloudFront-Viewer-Address", "CDN-Loop", "x-forwardeD-For",
)  # fmt: skip


def fields(*pairs: tuple[str, str], host: str | None = "localhost:7670") -> CIMultiDict[str]:
    return CIMultiDict([*([] if host is None else [("Host", host)]), *pairs])


def bearer(text: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {text}")


def refused(access: Access, headers: CIMultiDict[str]) -> str:
    with pytest.raises(ProblemError) as caught:
        access.caller(headers)
    return caught.value.faults[0].code


def test_a_token_says_who_asks() -> None:
    access = Access((SHOP, OPS))
    shop = access.caller(fields(bearer("shop"), host="sms.example.org"))
    assert (shop.name, shop.tenant, shop.scopes, shop.everyone) == ("token shop", "shop", SHOP.scopes, False)
    ops = access.caller(fields(("authorization", "bearer  ops")))
    assert (ops.tenant, ops.scopes, ops.everyone) == ("token:ops", ALL, True)


@pytest.mark.parametrize(
    "given",
    [
        [bearer("wrong")],
        [bearer("Shop")],
        [bearer("")],
        [bearer("shop\udcff")],
        [("Authorization", "shop")],
        [("Authorization", "Basic c2hvcDpzaG9w")],
        [bearer("shop"), bearer("shop")],
    ],
)
def test_a_wrong_token_is_refused_even_where_none_is_needed(given: list[tuple[str, str]]) -> None:
    assert refused(Access((SHOP,), ALL), fields(*given)) == "unauthenticated"


class Watched(tuple[Token, ...]):
    """Counts how many are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Token]:
        for each in super().__iter__():
            self.looked += 1
            yield each


@pytest.mark.parametrize("text", ["first", "last", "none of them"])
def test_every_token_is_compared_whichever_fits(text: str) -> None:
    tokens = Watched((token("first"), token("middle"), token("last")))
    try:
        Access(tokens).caller(fields(bearer(text)))
    except ProblemError:
        assert text == "none of them"
    assert tokens.looked == 3


def test_tokens_do_not_show_their_digest() -> None:
    assert SHOP.digest.hex() not in repr(SHOP)
    assert repr(SHOP.digest) not in repr(Access((SHOP,)))


def test_without_a_token_nobody_is_let_in_unless_it_is_said() -> None:
    assert refused(Access((SHOP,)), fields()) == "unauthenticated"
    assert refused(Access((), ALL, "https://sms.example.org"), fields()) == "unauthenticated"
    found = Access((), frozenset({Scope.READ})).caller(fields())
    assert (found.tenant, found.scopes, found.everyone) == ("anonymous", frozenset({Scope.READ}), True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.10:7670", "[::1]", "[::1]:7670"])
def test_loopback_by_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "example.org", "localhost.example.org", "localhost.", "127.0.0.1.example.org", "127.0.0.999", "127.1",
        "128.0.0.1", "0.0.0.0", "[::2]", "::1", "localhost:", "localhost:123456", "localhost:80\n", "localhost,evil",
        "evil@localhost", "127.0.0.1:80:80", "١٢٧.0.0.1",
    ],
)  # fmt: skip
def test_what_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        (fields(host="evil.example"), "Host"),
        (fields(host=None), "Host"),
        (fields(("Host", "localhost:7670")), "Host"),
        (fields(("Origin", "http://evil.example")), "Origin"),
        (fields(("Origin", "null")), "Origin"),
        (fields(("Origin", "http://localhost:7671")), "Origin"),
        (fields(("Origin", "https://localhost:7670")), "Origin"),
        (fields(("Origin", "http://localhost:7670"), ("Origin", "http://evil.example")), "Origin"),
        (fields(("Sec-Fetch-Site", "cross-site")), "Sec-Fetch-Site"),
        (fields(("Sec-Fetch-Site", "same-site")), "Sec-Fetch-Site"),
        (fields(("Sec-Fetch-Site", "")), "Sec-Fetch-Site"),
        (fields(("Forwarded", "for=1.2.3.4")), "Forwarded"),
        (fields(("x-forwarded-for", "127.0.0.1")), "x-forwarded-for"),
        (fields(("X-Forwarded-Anything", "")), "X-Forwarded-Anything"),
        (fields(("X-Real-IP", "127.0.0.1")), "X-Real-IP"),
        (fields(("Via", "1.1 proxy")), "Via"),
        *((fields((name, "127.0.0.1")), name) for name in FORWARDED),
    ],
)
def test_what_may_come_from_elsewhere_is_nobodys(headers: CIMultiDict[str], word: str) -> None:
    assert word in not_local(headers)
    assert refused(ANYBODY, headers) == "not_allowed"
    with_token = headers.copy()
    with_token.add(*bearer("ops"))
    assert Access((OPS,), ALL).caller(with_token).name == "token ops", "a token is good anywhere"


@pytest.mark.parametrize(
    "pair",
    [
        ("Origin", "http://localhost:7670"), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "same-origin"),
        ("X-Client", "a"), ("Content-Type", "application/json"), ("Traceparent", "00-1-2-03"), ("X-Request-Id", "7"),
    ],
)  # fmt: skip
def test_a_page_of_our_own_is_local(pair: tuple[str, str]) -> None:
    assert not not_local(fields(pair))


async def test_the_door_says_why(house: House) -> None:
    async with serving(house, Access((SHOP,), frozenset({Scope.READ}))) as rig:
        nobody = await rig.ask("GET", "/v1/stats", Host="evil.example")
        assert (nobody.status, nobody.codes) == (403, [(None, "not_allowed")])
        assert "`Host`" in nobody.json["detail"]
        wrong = await rig.ask("GET", "/v1/stats", Authorization="Bearer wrong")
        assert (wrong.status, wrong.codes) == (401, [(None, "unauthenticated")])
        assert wrong.headers["www-authenticate"].startswith("Bearer")
        assert "wrong" not in wrong.body.decode()
        scope = await rig.ask("POST", "/v1/messages", {"to": "+14155550123", "text": "x"})
        assert (scope.status, scope.codes) == (403, [(None, "not_allowed")])
        reach = await rig.ask("GET", "/metrics", Authorization="Bearer shop")
        assert (reach.status, reach.codes) == (403, [(None, "not_allowed")])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
async def test_health_and_description_need_nothing(house: House, path: str) -> None:
    async with serving(house, Access()) as rig:
        await house.engine.service.resume("main")
        headers = {"Host": "evil.example", "Origin": "null", "Forwarded": "for=x", "Authorization": "Bearer wrong"}
        assert (await rig.ask("GET", path, **headers)).status == 200


async def test_other_rules_count_from_the_next_request_on(house: House) -> None:
    async with serving(house, Access()) as rig:
        client = await rig.client()
        assert (await client.ask("GET", "/v1/ping")).status == 401
        rig.door.change(ANYBODY, max_body=100)
        assert (await client.ask("GET", "/v1/ping")).status == 200
        assert (await client.ask("POST", "/v1/messages", b"x" * 101)).status == 413
