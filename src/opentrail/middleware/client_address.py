"""Where a call came from: the address of the connection, or what trusted proxies say of it.

``X-Forwarded-For`` is read from its end, where the nearest proxy wrote: each address is believed as long as the one who
wrote it is trusted, so a client cannot put another's address before its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_networks(networks: Collection[str]) -> tuple[Network, ...]:
    """The networks (``10.0.0.0/8``) and addresses of trusted proxies.  Raises ``ValueError``."""
    return tuple(ip_network(each, strict=False) for each in networks)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The client's address; "" where the connection has none (a local socket)."""
    address = _parse(peer)
    if address is None:
        return ""
    hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for else []
    while hops and any(address in network for network in trusted):
        nearer = _parse(hops.pop())
        if nearer is None:
            break
        address = nearer
    return str(address)


@lru_cache(1024)  # most calls come from few addresses
def _parse(text: str) -> Address | None:
    """An address, also one with a port or in brackets."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
