"""Where a server may fetch from: hosts the operator named, and public addresses only.

An allowed host is `name` (https, port 443), `name:port`, or `http://name`. Decides on names and
addresses; connects to nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from kouji.errors import NotAllowed, UsageError

MAX_URL_CHARACTERS = 2048
_PORTS = {"https": 443, "http": 80}
# Forms of IPv6 that carry an IPv4 address to wherever a gateway takes it.
_TRANSLATED = tuple(
    map(
        IPv6Network,
        "::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2002::/16".split(),
    )
)


@dataclass(frozen=True)
class Place:
    """A URL whose host is allowed; its address is still to be looked up.

    target: path and query, as the request line has them
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(url: str, allowed_hosts: str) -> Place:
    """The place a URL names.

    allowed_hosts: the setting `ref_hosts`
    raises: UsageError for what is no URL of ours, NotAllowed for a host nobody named
    """
    place = _parse(url)
    if (place.scheme, place.host, place.port) not in _allowed(allowed_hosts):
        raise NotAllowed(
            "this host may not be fetched from",
            seen=f"{place.scheme}://{place.authority}"[:200],
            allowed="the hosts the operator named" if allowed_hosts.strip() else "no host at all",
            cure="send the recording itself, as an upload or a data URL",
        )
    return place


def is_public(address: str) -> bool:
    """Whether an IP address lies in the open internet, by its plain form."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (
        ip.is_site_local or any(ip in network for network in _TRANSLATED)
    ):
        return False
    is_special = ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local
    return ip.is_global and not is_special and not ip.is_private and not ip.is_unspecified


def _allowed(hosts: str) -> set[tuple[str, str, int]]:
    found = set()
    for entry in filter(None, (part.strip() for part in hosts.split(","))):
        place = _parse(entry if "://" in entry else f"https://{entry}")
        found.add((place.scheme, place.host, place.port))
    return found


def _parse(url: str) -> Place:
    if len(url) > MAX_URL_CHARACTERS or not re.fullmatch(r"[!-\[\]^-~]+", url):
        raise UsageError(  # no blanks, controls, backslashes or letters beyond ASCII
            "this is no URL to fetch from",
            seen=f"{len(url)} characters",
            allowed=f"up to {MAX_URL_CHARACTERS} plain characters, others percent-encoded",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError("this is no URL to fetch from", seen=error) from error
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        raise UsageError(
            "this is no URL to fetch from",
            seen=f"{parts.scheme}:…"[:40],
            allowed="https://host/path, or a data URL",
        )
    if "@" in parts.netloc:
        raise UsageError(
            "a URL with a user or password is not fetched", allowed="https://host/path"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, _PORTS[parts.scheme] if port is None else port, target)
