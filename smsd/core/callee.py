"""Where may a callback go?

Its URL comes from whoever submits, so it is judged twice. How it is spelt, once, when it is accepted: a spelling that
two readers could read in two ways is refused. Which addresses its name stands for, each time it is called: only those
of the public internet may be called, and private ones that the operator allowed. It refuses to know names: whoever
calls resolves them and asks here for each address.

An address is public if its block is given out for global unicast and not for a special purpose (IANA's registries of
special-purpose addresses, https://www.iana.org/assignments/iana-ipv6-special-registry/ and its IPv4 sister). One that
carries an IPv4 address inside is judged by that (RFC 4291 2.5.5.2, RFC 6052), or refused where such tunnels are gone
(6to4, Teredo).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

MAX_URL: Final = 2_048
"""Characters of a URL."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_URL: Final = re.compile(
    r"""(?P<scheme>https?)://
    (?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])
    (?::(?P<port>[0-9]{1,5}))?
    (?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
"""RFC 3986 without user, password and fragment, and in ASCII."""

_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""The last label of what some readers take for an IPv4 address (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""

_EXAMPLE: Final = '"https://example.com/sms"'
_LOOPBACK: Final = IPv4Address("127.0.0.1")

_UNICAST_6: Final = IPv6Network("2000::/3")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_SPECIAL_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_SPECIAL_4: Final = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "224.0.0.0/3"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Callee:
    """A URL that may be spelt so, taken apart. `host`: in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Scheme, host and port: what calls are counted by."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address that stands in the place of a name."""
        return _address(self.host)


def callee_of(url: str) -> Callee | str:
    """The URL taken apart, or what is wrong with it and what to do, to stand behind the name of its field."""
    if len(url) > MAX_URL:
        return f"has {len(url)} characters; at most {MAX_URL} are allowed: shorten it"
    found = _URL.fullmatch(url)
    if found is None:
        return f"must be an http or https URL without user, password and fragment, in ASCII, such as {_EXAMPLE}"
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or (443 if scheme == "https" else 80))
    if not 0 < port <= 65_535:
        return "must name a port from 1 to 65535, or none"
    if host.startswith("["):
        host = host[1:-1]
        fine = ":" in host and _address(host) is not None
    elif _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
        fine = _address(host) is not None
    else:
        fine = _NAME.fullmatch(host) is not None
    if not fine:
        return f"must name its host by a domain name or an address in its usual form, such as {_EXAMPLE}"
    return Callee(scheme, host, port)


def may_name(callee: Callee, allowed: Iterable[Network]) -> bool:
    """Whether the host may be called as far as its spelling tells: it is no private address, nor this machine."""
    if callee.host == "localhost" or callee.host.endswith(".localhost"):
        return may_call(_LOOPBACK, allowed)
    return callee.address is None or may_call(callee.address, allowed)


def may_call(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether the address is public, or within one of the networks that the operator allowed."""
    inner = _inner(address)
    return _is_public(inner) or any(each in network for network in allowed for each in (address, inner))


def _inner(address: Address) -> Address:
    """The IPv4 address that it stands for; itself: none."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_4)
    return address in _UNICAST_6 and address.scope_id is None and not any(address in network for network in _SPECIAL_6)


def _address(host: str) -> Address | None:
    """The address that the host is; None: it is none, or in no usual form. Never raises."""
    try:
        return ip_address(host)
    except ValueError:
        return None
