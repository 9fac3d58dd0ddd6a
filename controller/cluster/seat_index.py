"""The seats that NodeCaches name, by what is pulled: every agent asks who sits with it, in a cluster of thousands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from api.cohort import Seat
from api.resources import NodeCache

Content = tuple[str, str]  # hash of the model, revision
_NONE: Mapping[str, Seat] = MappingProxyType({})


class SeatIndex:
    def __init__(self) -> None:
        self._seats: dict[Content, dict[str, Seat]] = {}

    def of(self, content: Content) -> Mapping[str, Seat]:
        """By node."""
        return self._seats.get(content, _NONE)

    def replace(self, node: str, *, before: NodeCache | None, after: NodeCache | None) -> None:
        """The node's NodeCache as it was, and as it is."""
        for content in _seats(before):
            self._seats[content].pop(node)
            if not self._seats[content]:
                del self._seats[content]
        for content, seat in _seats(after).items():
            self._seats.setdefault(content, {})[node] = seat


def _seats(cache: NodeCache | None) -> dict[Content, Seat]:
    models = () if cache is None else cache.spec.models
    named = (((m.model, m.revision), Seat.parse(m.cohort)) for m in models if m.desired == "Present" and m.cohort)
    return {content: seat for content, seat in named if seat is not None}
