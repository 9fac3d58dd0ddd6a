"""RFC 6902 as far as our own patches use it: test, add, remove, on objects and lists."""

from __future__ import annotations

import copy
from typing import Any


class TestFailed(Exception):
    __test__ = False  # not a test class


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    result = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        place = result
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        where: Any = int(last) if isinstance(place, list) and last != "-" else last
        match operation["op"]:
            case "test":
                if place[where] != operation["value"]:
                    raise TestFailed(operation["path"])
            case "add" if isinstance(place, list):
                place.insert(len(place) if where == "-" else where, copy.deepcopy(operation["value"]))
            case "add":
                place[where] = copy.deepcopy(operation["value"])
            case "remove":
                del place[where]
            case other:
                raise NotImplementedError(other)
    return result
