"""Which stored tree a person means."""

from __future__ import annotations

from api.digest import Digest
from api.errors import InvalidRequest, NotFound
from api.keys import model_key
from api.reference import parse_reference
from cache.store.records import PullRecord
from cache.store.store import Store


def find_tree(store: Store, target: str) -> Digest:
    """The tree that a reference, a revision, the digest of a tree or the beginning of either names, or the name of a
    node's model, or its hash.

    Raises NotFound, or InvalidRequest where several are meant.
    """
    if "://" in target:
        reference = str(parse_reference(target))
        found = {record.tree for record in store.pull_records() if reference in _references(record)}
    elif start := target.removeprefix("sha256:"):
        found = {tree for tree in store.trees() if tree.hex.startswith(start)}
        hashes = (start, _hash(start))
        found |= {record.tree for record in store.pull_records() if any(_is_named(record, start) for start in hashes)}
    else:
        found = set()
    if not found:
        raise NotFound(
            f"{target} is not in the store at {store.root}",
            hint="see what is there with `warmset ls`, or `warmset node`",
        )
    if len(found) > 1:
        raise InvalidRequest(f"{target} names {len(found)} trees", hint="give more digits of one of them")
    return found.pop()


def _hash(name: str) -> str:
    """Under which a node knows the model ``namespace/name``; a stand-alone agent's may have no namespace."""
    namespace, _, base = name.rpartition("/")
    return model_key(namespace or "default", base)


def _references(record: PullRecord) -> tuple[str, ...]:
    """As the user of a local store gave it, or the agent's file (behind the model's hash), and as it was resolved;
    filter and layout, which follow, left out."""
    key = record.key.partition(" ")[0]
    return key, key.partition("@")[2], record.source.partition(" ")[0]


def _is_named(record: PullRecord, start: str) -> bool:
    return record.revision.removeprefix("sha256:").startswith(start) or record.key.startswith(f"{start}@")
