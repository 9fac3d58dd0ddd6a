"""Kubernetes quantities (``500m``, ``64Gi``, ``1e3``) as whole numbers.

CPU counts in thousandths, everything else in units; both round up, as the scheduler's requests do
(apimachinery resource.Quantity, MilliValue and Value).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from api.errors import InvalidRequest

Resources = Mapping[str, int]

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")
_SUFFIX = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(text: str | int | float, *, scale: int = 1) -> int:
    """``text`` times ``scale``, rounded up. Raises InvalidRequest."""
    found = _FORM.fullmatch(str(text).strip())
    if found is None:
        raise InvalidRequest(f"not a quantity: {str(text)[:40]!r}")
    number, exponent, suffix = found.groups()
    value = Decimal(number + (exponent or ""))
    if suffix in _BINARY:
        value *= 1 << _BINARY[suffix]
    elif suffix:
        value = value.scaleb(_SUFFIX[suffix])
    return int((value * scale).to_integral_value(ROUND_CEILING))


def resources(amounts: Mapping[str, Any] | None) -> dict[str, int]:
    """A ``resources.requests`` or ``status.allocatable`` block as numbers, zeros left out."""
    parsed = {name: quantity(text, scale=1000 if name == "cpu" else 1) for name, text in (amounts or {}).items()}
    return {name: amount for name, amount in parsed.items() if amount}


def add(parts: Iterable[Resources]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def subtract(amount: Resources, part: Resources) -> dict[str, int]:
    """``amount`` less ``part``; may go below zero, as an overcommitted node's free amount does."""
    return {name: amount.get(name, 0) - part.get(name, 0) for name in amount.keys() | part.keys()}


def highest(parts: Iterable[Resources]) -> dict[str, int]:
    peak: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            peak[name] = max(peak.get(name, 0), amount)
    return peak


def lacking(free: Resources, wanted: Resources) -> tuple[str, ...]:
    """Names of the resources of which ``free`` has less than ``wanted``, sorted."""
    return tuple(sorted(name for name, amount in wanted.items() if amount > free.get(name, 0)))


def pod_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """What the scheduler counts for a pod: containers and sidecars together, or the highest init step if more.

    Follows component-helpers resource.PodRequests: a restartable init container runs on beside everything after it.
    """
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        asked = _requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = add((sidecars, asked))
            peak = highest((peak, sidecars))
        else:
            peak = highest((peak, add((sidecars, asked))))
    running = add([sidecars, *(_requests(container) for container in spec.get("containers") or ())])
    total = add((highest((running, peak)), resources(spec.get("overhead"))))
    return {**total, "pods": 1}


def _requests(container: Mapping[str, Any]) -> dict[str, int]:
    block = container.get("resources") or {}
    # A limit without a request is the request (defaulted by the API server, but not at admission).
    return resources({**(block.get("limits") or {}), **(block.get("requests") or {})})
