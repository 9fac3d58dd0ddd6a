"""WWW-Authenticate, and which realm may see a credential. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cache.http.url import Origin, Url

_PART = re.compile(r'\s*,?\s*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+))?')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: its scheme in lower case and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Read a WWW-Authenticate header, which may hold several challenges (RFC 9110 §11.6.1)."""
    found: list[Challenge] = []
    position = 0
    while match := _PART.match(header, position):
        name, value = match.groups()
        position = match.end()
        if value is None:
            found.append(Challenge(name.lower(), {}))
        elif found:
            plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
            found[-1].parameters.setdefault(name.lower(), plain)
    return found


def may_see_credential(realm: Url, *, registry: Origin) -> bool:
    """Whether a token service may be shown the registry's credential.

    A hostile or hijacked answer could name any realm, so: never with less protection than the registry has, and
    only on the registry's own host or within its registrable domain (auth.docker.io for registry-1.docker.io).
    """
    if realm.origin.scheme != "https" and realm.origin.scheme != registry.scheme:
        return False
    return realm.origin.host == registry.host or (
        realm.origin.scheme == "https" and _same_domain(realm.origin.host, registry.host)
    )


def _same_domain(one: str, other: str) -> bool:
    if _is_address(one) or _is_address(other):
        return False
    return _registrable(one) == _registrable(other) != ""


def _registrable(host: str) -> str:
    """The registrable domain, judged without the public suffix list, on the narrow side.

    Two labels, or three under what looks like a country's second level (co.uk, com.au). A name with fewer has none.
    """
    labels = host.rstrip(".").split(".")
    second_level = len(labels) >= 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    want = 3 if second_level else 2
    return ".".join(labels[-want:]) if len(labels) >= want else ""


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
