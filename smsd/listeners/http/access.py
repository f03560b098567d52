"""Who asks over HTTP, and with which rights?

A bearer token says it (RFC 6750): what came is hashed and compared with every token in constant time, so that neither
the time nor the order tells which was nearly right. Without a token the `anonymous` scopes hold, if there are any and
the request is plainly local: a page in a browser, a name that somebody else's DNS points at loopback, and a proxy that
forwards strangers all show in the headers, and are refused. What the caller then may do, `operations` says.

It knows headers only; connections and addresses prove nothing behind a proxy, and are not looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from smsd.listeners.callers import Caller, ProblemError, Scope

_HOST = re.compile(r"(localhost|\[::1\]|127\.[0-9.]{5,11})(?::[0-9]{1,5})?", re.IGNORECASE)
_SUSPECT = frozenset("fFxXvVcCtT")
_FORWARDED = frozenset(
    {
        "forwarded", "via", "cdn-loop", "true-client-ip", "x-client-ip", "x-cluster-client-ip", "x-real-ip",
        "x-original-forwarded-for", "x-envoy-external-address", "x-azure-clientip", "x-appengine-user-ip",
        "cf-connecting-ip", "fly-client-ip", "fastly-client-ip", "cloudfront-viewer-address",
    }
)  # fmt: skip
"""Field names by which proxies say that they forward, and for whom; besides all that begin with x-forwarded."""
_TOKEN_HINT = "Send `Authorization: Bearer TOKEN`; `smsd token new` makes a token."  # noqa: S105 (an explanation)


class Headers(Protocol):
    """A request's header fields, as aiohttp gives them: names in any case, each perhaps several times."""

    def getall(self, key: str, default: list[str]) -> list[str]:
        """All values of a field."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The names."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """One `[[http.tokens]]`. `digest`: SHA-256 of the token's text; an empty tenant: all tenants."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    tenant: str = ""

    @property
    def caller(self) -> Caller:
        """Who presents it."""
        tenant = self.tenant or f"token:{self.name}"
        return Caller(f"token {self.name}", tenant, self.scopes, everyone=not self.tenant)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in. Immutable: a reload puts another one in its place."""

    tokens: Iterable[Token] = ()
    """Walked from end to end at every request with a token."""
    anonymous: frozenset[Scope] = frozenset()
    public_url: str = ""
    """Set: smsd can be reached from elsewhere, so nobody is anonymous."""

    def caller(self, headers: Headers) -> Caller:
        """Who sends this request. Raises ProblemError unauthenticated (no token, or a wrong one, even where none is
        needed) or not_allowed (no token, and the request is not plainly local)."""
        given = headers.getall("Authorization", [])
        if not given:
            return self._nobody(headers)
        scheme, _, text = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not text.strip():
            raise ProblemError.of("unauthenticated", f"`Authorization` holds no single bearer token. {_TOKEN_HINT}")
        found = self._find(text.strip())
        if found is None:
            raise ProblemError.of("unauthenticated", f"The token is not known. {_TOKEN_HINT}")
        return found.caller

    def _find(self, text: str) -> Token | None:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self.tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _nobody(self, headers: Headers) -> Caller:
        if not self.anonymous or self.public_url:
            raise ProblemError.of("unauthenticated", f"This needs a token. {_TOKEN_HINT}")
        reason = not_local(headers)
        if reason:
            text = f"Without a token only plainly local requests are taken, and {reason}. {_TOKEN_HINT}"
            raise ProblemError.of("not_allowed", text)
        return Caller("anonymous", "anonymous", self.anonymous, everyone=True)


def not_local(headers: Headers) -> str:
    """Why a request may come from elsewhere than a program on this machine; empty: it does not seem so."""
    hosts = headers.getall("Host", [])
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        return "`Host` is not a loopback address"
    if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in headers.getall("Origin", [])):
        return "`Origin` is another site"
    if any(site not in {"none", "same-origin"} for site in headers.getall("Sec-Fetch-Site", [])):
        return "`Sec-Fetch-Site` says that another site asks"
    for name in headers:
        if name[0] in _SUSPECT and ((low := name.lower()) in _FORWARDED or low.startswith("x-forwarded")):
            return f"`{name[:32]}` says that it was forwarded"
    return ""


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether the value of a Host field names this machine's loopback: 127.0.0.0/8, [::1] or localhost, with or
    without a port. Other names are not, whatever they resolve to: that is how DNS rebinding works."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1]
    if not name[0].isdigit():
        return True
    try:
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False
