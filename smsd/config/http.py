"""Who may come in over HTTP, and where is the door?

`[http]` and its `[[http.tokens]]`. What contradicts itself is found here: a request without a token may do something
only where nobody but this machine can make one. Tokens are known by their SHA-256 alone, so that who reads the file
cannot use what it says. How a request is checked against them is the door's business.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from smsd.config.tables import Table
from smsd.config.tenants import KEPT, LOCAL, TENANT_NAME, TENANT_REMEDY
from smsd.config.urls import is_loopback, plain_url
from smsd.config.values import MIB, SCOPES, HttpAddress, HttpConfig, TokenConfig

TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
MAX_BODY: Final = (64 << 10, 64 * MIB)
PLAIN_HINT: Final = (
    "remove it: a token never stands in this file, only its sha256, which `smsd token new` prints beside it"
)


def http(table: Table) -> HttpConfig:
    """`[http]`."""
    default = HttpConfig()
    listen = default.listen
    if table.has("listen"):
        listen = tuple(found for text in table.texts("listen") if (found := _address(table, text)) is not None)
    if len(set(listen)) != len(listen):
        table.fault("listen", "names an address twice; remove one")
    result = HttpConfig(
        listen=listen,
        anonymous=table.choices("anonymous", SCOPES),
        public_url=_public_url(table),
        max_body=table.size("max_body", default.max_body, *MAX_BODY),
        tokens=_tokens(table),
    )
    _only_at_home(table, result)
    table.done()
    return result


def _address(table: Table, text: str) -> HttpAddress | None:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(bare)
        number = int(port) if port.isdecimal() and port.isascii() else -1
        if not colon or (":" in bare) == (bare == host) or not 0 <= number <= 65_535:
            raise ValueError
    except ValueError:
        table.fault("listen", f'{text!r} is not an address and a port; write "127.0.0.1:7670" or "[::1]:7670"')
        return None
    return HttpAddress(bare, number)


def _public_url(table: Table) -> str:
    text = table.text("public_url", "")
    if not text or not plain_url(table, "public_url", text, "tokens and texts travel", path=False):
        return ""
    if not text.isascii():
        table.fault("public_url", "has letters that no URL carries as they are; write the host as its xn--... name")
    elif text != text.lower():
        # Providers sign the URL as they spell it, and they spell scheme and host so (RFC 3986, section 6.2.2.1).
        table.fault("public_url", "has upper-case letters, which providers do not sign as they stand; write lower case")
    return text.removesuffix("/")


def _only_at_home(table: Table, found: HttpConfig) -> None:
    """Requests without a token are let in only where they cannot come from another machine."""
    abroad = [f"{each} (listen)" for each in found.listen if not is_loopback(each.host)]
    abroad += [f"{found.public_url} (public_url)"] if found.public_url else []
    if found.anonymous and abroad:
        reached = " and ".join(abroad)
        table.fault("anonymous", f"lets in whoever reaches {reached}; remove it, and make tokens (`smsd token new`)")


# -- tokens


def _tokens(table: Table) -> tuple[TokenConfig, ...]:
    sections = list(table.items("tokens"))
    found = tuple(_token(section) for section in sections)
    _unlike(sections, "name", [token.name for token in found], "call it something else")
    _unlike(sections, "sha256", [token.sha256 for token in found], "make another with `smsd token new`")
    return found


def _token(table: Table) -> TokenConfig:
    """One section; a field with a fault is empty."""
    name = _required(table, "name", "what it is called in logs and in its tenant")
    if name and not TOKEN_NAME.fullmatch(name):
        table.fault("name", "is not a name; use at most 64 of A-Z a-z 0-9 - _ . @, beginning with a letter or digit")
        name = ""
    digest = _required(table, "sha256", "the 64 hexadecimal digits that `smsd token new` prints")
    if digest and not SHA256.fullmatch(digest):
        table.fault("sha256", "is not a SHA-256; write the 64 hexadecimal digits that `smsd token new` prints")
        digest = ""
    before = len(table.report.faults)
    scopes = table.choices("scopes", SCOPES)
    if not scopes and len(table.report.faults) == before:
        state = "is empty" if table.has("scopes") else "missing"
        table.fault("scopes", f"{state}; write what it may do, some of {', '.join(SCOPES)}")
    found = TokenConfig(name, bytes.fromhex(digest), scopes, _tenant(table))
    table.done(hints={"token": PLAIN_HINT})
    return found


def _required(table: Table, key: str, what: str) -> str:
    found = table.referred(key)
    if not table.has(key):
        table.fault(key, f"missing; write {what}")
    return found or ""


def _tenant(table: Table) -> str:
    name = table.text("tenant", "")
    if KEPT.fullmatch(name) or LOCAL.fullmatch(name):
        table.fault("tenant", f"{name!r} is kept for callers that are given no tenant; choose another name")
    elif name and not TENANT_NAME.fullmatch(name):
        table.fault("tenant", TENANT_REMEDY)
    return name


def _unlike(sections: Sequence[Table], key: str, values: Sequence[object], remedy: str) -> None:
    """Note every value that an earlier section has already."""
    first: dict[object, Table] = {}
    for section, value in zip(sections, values, strict=True):
        if value and first.setdefault(value, section) is not section:
            section.fault(key, f"is that of {first[value].path} too; {remedy}")
