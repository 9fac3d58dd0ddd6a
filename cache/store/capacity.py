"""How full the cache's disk may get, and which trees go when that is too full: decisions without effects.

kubelet acts on the same disk, by default (kubernetes pkg/kubelet/apis/config/v1beta1/defaults.go and eviction): it
deletes images from 85 % used bytes down to 80 %, and evicts pods when less than 15 % of the images' file system, 10 %
of its own or 5 % of the inodes are free. It does not count the cache as anybody's, so whatever is too much of it costs
innocent pods. SHARED therefore ends five points before kubelet begins: pulls fill the disk to 80 % at most, and what
others add beyond that is answered by evicting down to 75 %. On a disk of its own the cache leaves only what a file
system needs to stay fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """Shares of the file system that are in use, whoever uses them, from 0 to 1."""

    high: float = 0.80
    """No pull fills more bytes than this; above it, trees are evicted."""
    low: float = 0.75
    """Eviction ends here, so that it does not begin again with the next byte."""
    inodes_high: float = 0.90
    inodes_low: float = 0.85


SHARED = Watermarks()
OWN_DISK = Watermarks(high=0.95, low=0.90, inodes_high=0.95, inodes_low=0.90)
UNLIMITED = Watermarks(high=1.0, low=1.0, inodes_high=1.0, inodes_low=1.0)


@dataclass(frozen=True, slots=True)
class Amount:
    """Of disk space."""

    bytes: int
    inodes: int

    def __bool__(self) -> bool:
        return self.bytes > 0 or self.inodes > 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.bytes + other.bytes, self.inodes + other.inodes)

    def less(self, other: Amount) -> Amount:
        return Amount(max(0, self.bytes - other.bytes), max(0, self.inodes - other.inodes))


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system; ``inodes`` is 0 where it makes them as it goes. ``free`` is what we may take of it."""

    bytes: int
    bytes_free: int
    inodes: int
    inodes_free: int

    def room(self, marks: Watermarks) -> Amount:
        """What may still be filled below the high watermark."""
        left = self.bytes_free - (self.bytes - int(marks.high * self.bytes))
        inodes_left = self.inodes_free - (self.inodes - int(marks.inodes_high * self.inodes))
        return Amount(max(0, left), max(0, inodes_left))

    def excess(self, marks: Watermarks) -> Amount:
        """What has to go to reach the low watermarks; nothing while it is below the high ones."""
        used, inodes_used = self.bytes - self.bytes_free, self.inodes - self.inodes_free
        return Amount(
            used - int(marks.low * self.bytes) if used > marks.high * self.bytes else 0,
            inodes_used - int(marks.inodes_low * self.inodes) if inodes_used > marks.inodes_high * self.inodes else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A tree on the disk. ``blobs`` maps each to the bytes it takes there."""

    tree: Digest
    blobs: Mapping[Digest, int]
    last_used: float
    """Unix time, seconds."""
    hold: str = ""
    """Why it must stay; empty when it may go."""
    priority: int = 0
    """Lower goes first; the same for all that nobody wants."""
    group: str = ""
    """Of whose nodes this one is a member: one cold node makes the whole group cold, so it goes last."""

    @property
    def bytes(self) -> int:
        return sum(self.blobs.values())


@dataclass(frozen=True, slots=True)
class Step:
    """One tree to evict, and what that gives back: blobs that no tree which stays links."""

    stored: Stored
    frees: Amount


@dataclass(frozen=True, slots=True)
class Eviction:
    """``missing`` is what all evictable trees together cannot give; then ``steps`` is empty: evicting in vain helps
    nobody."""

    steps: tuple[Step, ...]
    missing: Amount
    kept: tuple[Stored, ...]


def plan_eviction(stored: Sequence[Stored], need: Amount) -> Eviction:
    """What to evict so that ``need`` comes free: nothing that is held, groups last, lowest priority first, then least
    recently used, and no tree that turns out not to be needed."""
    candidates = sorted(
        (tree for tree in stored if not tree.hold),
        key=lambda tree: (bool(tree.group), tree.priority, tree.last_used, tree.tree.hex),
    )
    links = Counter(blob for tree in stored for blob in tree.blobs)
    freed = Amount(0, 0)
    chosen: list[Stored] = []
    for tree in candidates:
        if not need.less(freed):
            break
        links.subtract(tree.blobs.keys())
        freed = freed.plus(_unlinked(tree, links))
        chosen.append(tree)
    missing = need.less(freed)
    if missing:
        return Eviction(steps=(), missing=missing, kept=tuple(stored))
    # A large tree chosen late makes small ones before it needless; the most valuable are spared first.
    for tree in chosen[::-1]:
        gives = _unlinked(tree, links)
        if not need.less(freed.less(gives)):
            chosen.remove(tree)
            freed = freed.less(gives)
            links.update(tree.blobs.keys())
    return Eviction(
        steps=steps_of(chosen, of=stored), missing=missing, kept=tuple(tree for tree in stored if tree not in chosen)
    )


def what_holds(kept: Sequence[Stored]) -> str:
    """For people: how much stays, and why; empty when nothing does."""
    held: Counter[str] = Counter()
    for tree in kept:
        held[tree.hold or "could go, and are not enough"] += tree.bytes
    return ", ".join(f"{_text(count)} {why}" for why, count in held.most_common())


def steps_of(chosen: Sequence[Stored], *, of: Sequence[Stored]) -> tuple[Step, ...]:
    """What each of ``chosen`` gives back when they go in this order: a blob comes free with the last that links it."""
    links = Counter(blob for tree in of for blob in tree.blobs)
    steps: list[Step] = []
    for tree in chosen:
        links.subtract(tree.blobs.keys())
        steps.append(Step(tree, _unlinked(tree, links)))
    return tuple(steps)


def _text(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def _unlinked(tree: Stored, links: Mapping[Digest, int]) -> Amount:
    """What those of its blobs take that no tree is left to link."""
    sizes = [size for blob, size in tree.blobs.items() if not links[blob]]
    return Amount(sum(sizes), len(sizes))
