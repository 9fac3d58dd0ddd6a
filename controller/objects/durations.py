"""Durations as users write them, ``90s`` or ``1h30m``, and times as the API server writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from api.errors import InvalidRequest

_PART = re.compile(r"(\d{1,9})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> int:
    """Raises InvalidRequest."""
    if not re.fullmatch(r"(\d{1,9}[smh])+", text.strip()):
        raise InvalidRequest(f"not a duration: {text[:40]!r}", hint="write for example 90s, 30m or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
