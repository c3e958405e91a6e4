"""Addresses: which of them only this machine reaches, and which web pages may call from a browser.

Without keys a page on the internet must not use the local server through the browser of who
reads it: neither by a request across sites, nor under a name that was pointed here (rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")


def is_loopback(host: str) -> bool:
    """Nobody but this machine reaches a server bound to this address or name."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)


def is_local_name(host_header: str) -> bool:
    """A Host header under which a person reaches this machine itself; names are not looked up."""
    name = _host_of(host_header)
    if name.rstrip(".") in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_foreign_page(headers: Mapping[str, str], origins: tuple[str, ...]) -> bool:
    """A browser sends this on behalf of a page that is not ours, nor of an allowed origin.

    headers: of the request, with names in lower case
    origins: as the setting `cors_origins` lists them
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        if origin in origins or "*" in origins:
            return False
        # No page can write the second header; it also holds behind a proxy with another Host.
        is_ours = _authority_of(origin) == headers.get("host", "").lower() or site == "same-origin"
        return not is_ours
    return site in ("cross-site", "same-site")


def listed(setting: str) -> tuple[str, ...]:
    """The parts of a setting that is a list separated by commas."""
    return tuple(part.strip() for part in setting.split(",") if part.strip())


def _authority_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_of(host_header: str) -> str:
    try:
        return (urlsplit(f"//{host_header}").hostname or "").lower()
    except ValueError:
        return ""
