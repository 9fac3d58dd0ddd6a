"""What strangers wrote, on its way into logs, conditions and terminals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.errors import NotFound
from api.text import one_line


@given(st.text(st.characters()), st.integers(min_value=1, max_value=50))
def test_whatever_comes_in_one_printable_line_comes_out(text: str, limit: int) -> None:
    shown = one_line(text, limit=limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit, "an escape is ten characters long at most"


def test_plain_text_stays_as_it_is() -> None:
    assert one_line("modèle 模型 v1.0", limit=100) == "modèle 模型 v1.0"


def test_controls_are_seen_rather_than_obeyed() -> None:
    assert one_line("a\x1b[31m\nb\u202e", limit=100) == "a\\x1b[31m\\nb\\u202e"


def test_a_long_text_is_cut_and_shows_it() -> None:
    assert one_line("x" * 10, limit=4) == "xxx…"


def test_every_failure_says_one_line() -> None:
    error = NotFound("no\nsuch\x1b[2J", hint="\rlook elsewhere")
    assert str(error) == error.message == "no\\nsuch\\x1b[2J"
    assert error.hint == "\\rlook elsewhere"
