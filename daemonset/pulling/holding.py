"""What the node holds or failed to get, and how the status says so. The store's records and trees are the truth."""

from __future__ import annotations

from dataclasses import dataclass

from api.digest import Digest
from api.errors import WarmsetError
from api.resources import NodeModelStatus
from cache.store import Store
from daemonset.pulling.desired import Desired, from_key

MESSAGE_CHARS = 1024  # as the custom resource allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A model that is here: verified, complete and durable."""

    desired: Desired
    tree: Digest
    revision: str
    size: int
    bytes_origin: int = 0
    bytes_peers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why the last attempt failed, and when the next one is due (monotonic seconds)."""

    error: WarmsetError
    attempts: int
    retry_at: float
    bytes_origin: int
    bytes_peers: int


def held_by(store: Store) -> dict[str, Held]:
    """What the store's records name and its trees really hold, in the form of what was desired then."""
    found = {}
    for record in store.pull_records():
        desired = from_key(record.key)
        tree = store.tree(record.tree) if desired else None
        if desired and tree:
            found[record.key] = Held(desired=desired, tree=record.tree, revision=record.revision, size=tree.size)
    return found


def give_up(store: Store, key: str, tree: Digest) -> int:
    """Remove the record, and the tree unless another record names it. Returns bytes freed. Raises InUse."""
    shared = any(record.tree == tree and record.key != key for record in store.pull_records())
    freed = 0 if shared else store.remove_tree(tree)
    store.forget(key)
    return freed


def status_of_held(held: Held, *, why_it_stays: tuple[str, str] | None) -> NodeModelStatus:
    """Ready; or Evicting, where ``why_it_stays`` gives reason and message of a removal that has to wait."""
    reason, message = why_it_stays or ("", "")
    return NodeModelStatus(
        model=held.desired.model,
        revision=held.revision,
        state="Ready" if why_it_stays is None else "Evicting",
        tree=str(held.tree),
        bytes_done=held.size,
        bytes_total=held.size,
        bytes_origin=held.bytes_origin,
        bytes_peers=held.bytes_peers,
        reason=reason,
        message=message,
    )


def status_of_waiting(desired: Desired, trouble: Trouble | None, *, paused: bool) -> NodeModelStatus:
    """Queued for a slot, for the end of a pause or for the next try; Failed when a retry alone does not help."""
    if trouble is None:
        reason, message = ("Paused", "warmset resume on the node ends the pause") if paused else ("", "")
        return NodeModelStatus(
            model=desired.model, revision=desired.revision, state="Queued", reason=reason, message=message
        )
    return NodeModelStatus(
        model=desired.model,
        revision=desired.revision,
        state="Queued" if trouble.error.retryable else "Failed",
        bytes_origin=trouble.bytes_origin,
        bytes_peers=trouble.bytes_peers,
        reason=trouble.error.reason,
        message=trouble.error.message[:MESSAGE_CHARS],
    )
