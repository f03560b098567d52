"""Which URLs and headers may a configuration name?

Credentials and texts travel by them, so a URL is https, or http to this machine; placeholders stand behind the host, so
no message can choose where it goes; a header is a name and a value of RFC 9110 on one line, and not one of those that
frame a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from smsd.providers.http.faults import gathered
from smsd.providers.http.templates import HEADERS, Template, masked_text, template

_LEGAL = re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%{}\[\]-]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRETS = frozenset({"auth", "credential", "credentials", "key", "pass", "pin", "pwd", "sig", "signature"})
_SECRET = re.compile(r"(?:pass(?:word|wd|phrase)|pwd|token|apikey|accesskey|authkey)$|secret", re.IGNORECASE)
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)


def url_template(key: str, url: str, allowed: frozenset[str]) -> Template:
    """The URL with its placeholders. Raises ValueError, naming the key and not the URL."""
    found = template(key, url, allowed)
    remedy = 'write it like "https://sms.example.com/send"'
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{key}: is not a URL; {remedy}") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0 or not _LEGAL.fullmatch(url):
        raise ValueError(f"{key}: is not a plain http(s) URL; {remedy}")
    if "{" in parts.netloc or "@" in parts.netloc:
        raise ValueError(f"{key}: has a placeholder or credentials before its path; use auth and token, and {remedy}")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(f"{key}: sends credentials and texts in the clear; use https (http only to this machine)")
    for name, value in query_of(url):
        if is_secret(name) and value and not template(key, value, allowed).names:
            raise ValueError(
                f"{key}: its parameter {name} looks like a secret; take it out and write it as token, "
                f'with auth = "query" and auth_name = "{name}"'
            )
    return found


def is_secret(name: str) -> bool:
    """Whether what bears this name is likely to be a secret: "api_key", "apiKey", "PWD", "pin2"."""
    words = _WORD.findall(name)
    return bool(words) and (words[-1].lower() in _SECRETS or _SECRET.search("".join(words)) is not None)


def query_of(url: str) -> list[tuple[str, str]]:
    """The names and values of a URL's query as they are written."""
    pairs = (pair.partition("=") for pair in url.partition("?")[2].split("&"))
    return [(name, value) for name, _, value in pairs if name]


def masked_url(url: object) -> object:
    """The URL as it may be shown: with "***" for what is constant in its query's values."""
    before, mark, query = str(url).partition("?")
    if not mark:
        return url
    pairs = (pair.partition("=") for pair in query.split("&"))
    return f"{before}?" + "&".join(f"{name}{equals}{masked_text(value)}" for name, equals, value in pairs)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def header_templates(key: str, headers: Mapping[str, str]) -> Mapping[str, Template]:
    """The headers with their placeholders. Raises SettingsError, naming the headers and not their values."""
    gathered(*(partial(_header, key, name, value) for name, value in headers.items()))
    seen: set[str] = set()
    for name in headers:
        if name.lower() in seen:
            raise ValueError(f"{key}.{name}: stands there twice; keep one")
        seen.add(name.lower())
    return MappingProxyType({name: _header(key, name, value) for name, value in headers.items()})


def _header(key: str, name: str, value: str) -> Template:
    header_name(f"{key}.{name}", name)
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{key}.{name}: holds a line break or what is no ASCII; a header cannot")
    return template(f"{key}.{name}", value, HEADERS)


def header_name(key: str, name: str) -> str:
    """Raises ValueError, naming the key, for what is no header's name and for headers that frame a request."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{key}: is not a header's name (RFC 9110, section 5.6.2)")
    if name.lower() in _FRAMING:
        raise ValueError(f"{key}: is set by smsd itself; remove it")
    return name
