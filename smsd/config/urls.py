"""Is this a plain URL, and does what travels to it stay on this machine?

For every key that takes a URL: one reading, one remedy. What is behind the URL is not asked for.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from smsd.config.tables import Table


def plain_url(table: Table, key: str, text: str, what: str, *, path: bool) -> bool:
    """Whether the key's text is an http or https URL without user, query and fragment; with a path only if `path`.

    Notes a fault if not. Warns of `what` ("texts travel") when it goes unencrypted beyond this machine.
    """
    try:
        url = urlsplit(text)
        fine = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and "@" not in text
        fine = fine and not any(char in "?#" or char.isspace() or not char.isprintable() for char in text)
        fine = fine and (path or url.path in {"", "/"})
    except ValueError:
        fine = False
    if not fine:
        parts, example = ("scheme, host and path", "/v1") if path else ("scheme and host, no path", "")
        table.fault(key, f'is not a plain URL; write {parts}, such as "https://sms.example.com{example}"')
        return False
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        table.warn(key, f"{what} unencrypted; write https://")
    return True


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
