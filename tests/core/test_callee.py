"""Can no spelling of a URL, and no address, lead a callback to where it must not go?"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.callee import MAX_URL, Callee, callee_of, may_call, may_name


@pytest.mark.parametrize(
    ("url", "callee"),
    [
        ("https://example.com/sms", Callee("https", "example.com", 443)),
        ("HTTP://Shop.Example", Callee("http", "shop.example", 80)),
        ("https://a_b.example:8443/x/y?z=1&u=%2F@:,;", Callee("https", "a_b.example", 8443)),
        ("https://xn--bcher-kva.example?x", Callee("https", "xn--bcher-kva.example", 443)),
        ("https://8.8.8.8/", Callee("https", "8.8.8.8", 443)),
        ("https://[2606:4700::1111]:9/", Callee("https", "2606:4700::1111", 9)),
        ("https://receiver/", Callee("https", "receiver", 443)),
    ],
)
def test_a_url_taken_apart(url: str, callee: Callee) -> None:
    assert callee_of(url) == callee


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "example.com",
            "//example.com",
            "http\u017f://a.example",
            "https://\u212a.example/",
            "ftp://example.com",
            "https:example.com",
            "https:///x",
            "javascript:x",
        ),
        *("https://user@example.com", "https://u:p@example.com", "https://8.8.8.8@127.0.0.1/", "https://a@b@c/"),
        *("https://example.com#x", "https://example.com/#x", "https://example.com\\@127.0.0.1/", "https://a b/"),
        *("https://example.com/\n", "https://example.com\t/", "https://example.com/ü", "https://bücher.example/"),
        *(
            "https://example.com./",
            "https://127.0.0.1./",
            "https://localhost./",
            "https://.example.com/",
            "https://a..b/",
        ),
        *("https://-a.example/", "https://a-.example/", f"https://{'a' * 64}.example/", "https://%31/", "https:// /"),
        *("http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/", "http://127.1/"),
        *(
            "http://0177.0.0.1/",
            "http://127.0.0.01/",
            "http://1.2.3/",
            "http://256.1.1.1/",
            "http://0x/",
            "http://a.0x7f/",
        ),
        *("http://①②⑦.⓪.⓪.①/", "http://[fe80::1%25eth0]/", "http://[::1", "http://[::1]x/", "http://[127.0.0.1]x"),
        *("http://[zz::1]/", "http://[1.2.3.4]/a", "https://example.com:0/", "https://example.com:65536/"),
        *("https://example.com:/", "https://example.com:8a/", f"https://example.com/{'x' * MAX_URL}"),
    ],
)
def test_a_spelling_that_is_refused(url: str) -> None:
    found = callee_of(url)
    assert isinstance(found, str)
    assert len(found) < 150


PRIVATE = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:0:0", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "64:ff9b:0:1::808:808", "100::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1"),
    *(
        "2001:2::1",
        "2001:10::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
    ),
    *("ff02::1", "ff0e::1", "2606:4700::1111%eth0", "4000::1"),
)
PUBLIC = (
    *(
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.169.0.1",
    ),
    *("223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address(address: str) -> None:
    assert not may_call(ip_address(address), ())
    if "%" not in address:
        host = f"[{address}]" if ":" in address else address
        callee = callee_of(f"http://{host}/")
        assert isinstance(callee, Callee)
        assert not may_name(callee, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address(address: str) -> None:
    assert may_call(ip_address(address), ())


def test_what_is_allowed_is_allowed_in_every_form() -> None:
    allowed = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"):
        assert may_call(ip_address(address), allowed), address
    for address in ("127.0.0.1", "192.168.0.1", "::1", "2002:a01:203::1", "fc00::1"):
        assert not may_call(ip_address(address), allowed), address


def test_this_machine_by_name() -> None:
    for host in ("localhost", "LocalHost", "a.localhost"):
        callee = callee_of(f"https://{host}/")
        assert isinstance(callee, Callee)
        assert not may_name(callee, (ip_network("10.0.0.0/8"),))
        assert may_name(callee, (ip_network("127.0.0.1"),))
    other = callee_of("https://localhost.example/")
    assert isinstance(other, Callee)
    assert may_name(other, ())


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(v=4))
def test_no_wrapping_makes_an_address_public(address: object) -> None:
    inner = ip_address(str(address))
    for form in ("::ffff:{}", "64:ff9b::{}"):
        assert may_call(ip_address(form.format(inner)), ()) == may_call(inner, ())
    assert not may_call(ip_address(f"::{inner}"), ()), "the deprecated form is no public one"
