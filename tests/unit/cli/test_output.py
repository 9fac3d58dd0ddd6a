"""How the commands on a cluster show things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from cli.live import watch
from cli.output import table
from cli.planning import duration_text


def test_a_table_is_aligned_and_without_rows_it_is_nothing() -> None:
    assert table([("A", "B"), ("long", "x")], indent=" ") == [" A     B", " long  x"]
    assert table([("A", "B")]) == []


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m01s"), (3660, "1h01m")])
def test_durations_are_short(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text


class Ended(Exception):
    pass


def looks(*answers: Sequence[str]) -> object:
    found: Iterator[Sequence[str]] = iter(answers)

    async def look() -> Sequence[str]:
        try:
            return next(found)
        except StopIteration:
            raise Ended from None

    return look


async def test_watching_prints_again_only_what_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Ended):
        await watch(looks(["a"], ["a"], ["b"]), terminal=False, every_s=0)  # type: ignore[arg-type]
    assert capsys.readouterr().out == "a\n\nb\n"


async def test_watching_on_a_terminal_ends_with_the_last_view_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Ended):
        await watch(looks(["first"], ["second"]), terminal=True, every_s=0)  # type: ignore[arg-type]
    assert "second" in capsys.readouterr().out
