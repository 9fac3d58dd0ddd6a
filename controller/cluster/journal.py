"""Names of what has changed, for readers that come at their own pace."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 100_000  # notes kept; a reader who lags further behind is told every name that was ever noted


class Journal:
    """``len`` is a position: what was noted since is read by naming it."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._dropped: dict[str, None] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def note(self, names: Iterable[str]) -> None:
        added = list(names)
        self._notes += added
        self._count += len(added)
        if len(self._notes) > MOST:
            self._dropped |= dict.fromkeys(self._notes[: -MOST // 2])
            del self._notes[: -MOST // 2]

    def since(self, position: int) -> set[str]:
        missed = self._count - position
        if missed > len(self._notes):
            return {*self._dropped, *self._notes}
        return set(self._notes[len(self._notes) - missed :])
