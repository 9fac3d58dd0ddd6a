"""Which addresses a connection may lead to. Pure.

References come from users, redirects and token services from whoever answers: on a cluster's node each of them could
name what only the node can reach. So what counts is the address that is connected to, after the name was resolved.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(IntEnum):
    """How far inside an address lies; each takes in those before it."""

    PUBLIC = 1  # the open internet
    PRIVATE = 2  # networks of one's own: RFC 1918 and 6598, ULA, and what is reserved
    LOCAL = 3  # this machine, its link, and the metadata services of clouds, which hand out credentials


# Metadata services beside 169.254.169.254, which lies on the link: AWS, Google, Alibaba, Oracle; Azure's wire server.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291, 2.5.5.1, deprecated and still routed by some


def reach_of(address: str) -> Reach:
    """How far inside ``address`` (as getaddrinfo gives it) lies; the worst of what it could be taken for."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return max(_reach(candidate) for candidate in (ip, *_embedded(ip)))


def _reach(ip: _Address) -> Reach:
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return Reach.PRIVATE  # fec0::/10, deprecated, which the library takes for global
    if ip in _METADATA or ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
        return Reach.LOCAL
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def _embedded(ip: _Address) -> list[_Address]:
    """IPv4 addresses that an IPv6 one stands for."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found: list[_Address] = [v4 for v4 in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())) if v4 is not None]
    if ip in _NAT64 or ip in _COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return found
