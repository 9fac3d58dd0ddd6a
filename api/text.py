"""Text that strangers may have written, made fit to stand in a log line, a condition or a terminal."""

from __future__ import annotations


def one_line(text: str, *, limit: int) -> str:
    """``text`` with escapes for whatever does not print (line breaks, terminal and bidirectional controls), and cut at
    ``limit`` characters."""
    cut = text if len(text) <= limit else f"{text[: limit - 1]}…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
