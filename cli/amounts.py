"""Amounts as users write them, 50MB, 1GiB, and read them."""

from __future__ import annotations

import time

import click

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Size(click.ParamType[int]):
    """Bytes, such as 50MB or 1GiB."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).lower().removesuffix("b")
        digits = text.rstrip("kmgti")
        try:
            size = int(float(digits) * _UNITS[text[len(digits) :]])
        except (ValueError, KeyError, OverflowError):
            size = 0
        if size < 1:
            self.fail(f"{value!r} is not a {self.name}; write for example 50MB or 1GiB", param, ctx)
        return size


class Rate(Size):
    """Bytes per second, such as 50MB or 1GiB."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return super().convert(str(value).removesuffix("/s"), param, ctx)


def ago(at: float | None) -> str:
    """How long ago, in the largest unit that fits; ``at`` is Unix time in seconds, none or 0 for never."""
    if not at:
        return "-"
    seconds = max(time.time() - at, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"
