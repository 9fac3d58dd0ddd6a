"""The cold half of a pull: fetch what is missing, verify it, publish the tree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.digest import Digest
from api.errors import Cancelled, DigestMismatch, SourceChanged
from api.tree import Tree, TreeFile
from cache.archives.unpack import overlaid, unpack
from cache.intake import Intake
from cache.layouts import arrange
from cache.origin import Origin
from cache.prove import Proof
from cache.sources.artifact import Archive, Artifact, key_of
from cache.sources.oci.image import Change
from cache.sources.source import Resolved, Session
from cache.store.draft import Draft
from cache.store.places import Known, Place
from cache.store.store import Store
from cache.transfer.engine import Settings, transfer
from cache.transfer.file import WantedFile
from cache.transfer.plan import plan
from cache.transfer.progress import Meter, Progress
from cache.transfer.throttle import Rate

if TYPE_CHECKING:
    from cache.exchange.group import Exchanges


@dataclass(frozen=True, slots=True)
class Fetched:
    """The published tree; ``bytes_origin`` came over the network, ``bytes_reused`` were in the store before."""

    tree: Tree
    bytes_origin: int
    bytes_reused: int


@dataclass(frozen=True, slots=True)
class Todo:
    """What a pull does about what has a sha256: take as it is, read for a proof, or fetch."""

    reused: tuple[TreeFile | Archive, ...]
    unproven: tuple[TreeFile | Archive, ...]
    missing: tuple[TreeFile | Archive, ...]


def fetch(
    store: Store,
    resolved: Resolved,
    *,
    origin: Origin,
    place: Place,
    trust_store: bool,
    workers: int,
    limit: Rate | None,
    on_progress: Callable[[Progress], None] | None,
    cancel: threading.Event,
    exchanges: Exchanges | None,
) -> Fetched:
    """Bring every blob into ``store`` and publish the tree; together with a group, where ``exchanges`` names one.

    Raises what ``transfer`` and the store do, and SourceChanged where bytes differ from what a pull fixed before.
    """
    known = place.known()
    artifact = resolved.artifact.with_hashes(known.hashes)
    todo = sort_out(artifact, store=store, known=known, trust_store=trust_store)
    packed = sum(archive.size for archive in artifact.archives)  # counts twice: fetched, then unpacked
    meter = Meter(bytes_total=artifact.size + packed, files_total=len(artifact.blobs))
    reused = sum(file.size for file in todo.reused)
    meter.reused(reused)
    meter.finished(len(todo.reused))
    steps = _Steps(
        store=store,
        resolved=resolved,
        artifact=artifact,
        origin=origin,
        place=place,
        intake=Intake(store, place=place, unhashed=artifact.unhashed, trust_store=trust_store),
        settings=Settings(workers=workers, limit=limit),
        meter=meter,
        on_progress=on_progress,
        cancel=cancel,
    )
    # An archive's files are known only once it is unpacked. Until then they are taken to be as large as it is.
    unpacked = {key_of("unpacked", str(archive.digest)): archive.size for archive in artifact.archives}
    with store.claim({**artifact.blobs, **unpacked}) as give_up:
        steps.bring(todo, exchanges=exchanges)
        give_up(unpacked)  # each file asks for its room now
        with store.draft() as draft:
            tree = steps.publish(steps.unpack(draft), draft=draft)
    if exchanges is None:  # else others may still want them
        store.remove_blobs([archive.digest for archive in artifact.archives])
    return Fetched(tree, bytes_origin=meter.snapshot().bytes_origin, bytes_reused=reused)


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of one pull, in order; each leaves in the store what the next one needs.

    ``artifact`` is the resolved one with every hash that earlier pulls of the place found.
    """

    store: Store
    resolved: Resolved
    artifact: Artifact
    origin: Origin
    place: Place
    intake: Intake
    settings: Settings
    meter: Meter
    on_progress: Callable[[Progress], None] | None
    cancel: threading.Event

    def bring(self, todo: Todo, *, exchanges: Exchanges | None) -> None:
        """Bring every blob: with the group what it shares, the rest from the source."""
        try:
            shared = frozenset() if exchanges is None else self._share(todo, exchanges)
            self._transfer(todo, but=shared)
        except DigestMismatch as error:
            if len(self.artifact.unhashed) == len(self.resolved.artifact.unhashed):
                raise
            raise SourceChanged(
                f"{self.place.name}: {error.message}; the first pull fixed what it serves under this version",
                hint="ask whoever keeps the source; if the new bytes are right, give them a new name or version",
            ) from error

    def unpack(self, draft: Draft) -> list[Change]:
        return [
            unpack(
                self.store,
                archive,
                draft=draft,
                wanted=self.origin.wanted,
                on_bytes=self.meter.reused,
                tick=self._tick,
            )
            for archive in self.artifact.archives
        ]

    def publish(self, changes: list[Change], *, draft: Draft) -> Tree:
        """Arrange all files in the layout that was asked for, and publish the tree they make."""
        complete = self.artifact.with_hashes(self.intake.found)
        tree = Tree.of([*complete.files, *overlaid(self.artifact.archives, changes)])
        origin, unhashed = self.origin, self.resolved.artifact.unhashed
        arranged = arrange(tree, layout=origin.layout, reference=origin.reference, git=unhashed)
        for _, content in arranged.made:
            with self.store.stage() as staged:
                staged.write(content)
                staged.commit()
        self.store.publish_tree(arranged.tree, draft=draft)
        return arranged.tree

    def _share(self, todo: Todo, exchanges: Exchanges) -> frozenset[Digest]:
        from cache.together import fetch_together  # an exchange's libraries take as long to import as all else

        return fetch_together(
            self.resolved,
            present=frozenset(file.digest for file in todo.reused),
            origin=self.origin,
            exchanges=exchanges,
            store=self.store,
            intake=self.intake,
            open_session=self._open_session,
            limit=self.settings.limit,
            meter=self.meter,
            cancel=self.cancel,
            on_progress=self.on_progress,
        )

    def _transfer(self, todo: Todo, *, but: Collection[Digest]) -> None:
        proofs = [Proof(file.digest, file.size, self.place) for file in todo.unproven if file.digest not in but]
        wanted = [WantedFile(file.digest, file.size) for file in todo.missing if file.digest not in but]
        wanted += {file.key: WantedFile(file.key, file.size) for file in self.artifact.unhashed}.values()
        transfer(
            [*proofs, *plan(wanted, workers=self.settings.workers)],
            store=self.intake,
            open_session=self._open_session,
            settings=self.settings,
            meter=self.meter,
            cancel=self.cancel,
            on_progress=self.on_progress,
        )

    def _open_session(self) -> Session:
        return self.resolved.open_session(self.artifact)

    def _tick(self) -> None:
        if self.cancel.is_set():
            raise Cancelled("the pull was cancelled")
        if self.on_progress is not None:
            self.on_progress(self.meter.snapshot())


def sort_out(artifact: Artifact, *, store: Store, known: Known, trust_store: bool) -> Todo:
    """``trust_store`` takes any present blob; else only what came through this very place before."""
    files: dict[Digest, TreeFile | Archive] = {file.digest: file for file in artifact.files}
    files.update((archive.digest, archive) for archive in artifact.archives)
    present = {digest for digest, file in files.items() if store.has_blob(digest, file.size)}
    usable = present if trust_store else present & known.proven
    return Todo(
        reused=tuple(file for digest, file in files.items() if digest in usable),
        unproven=tuple(file for digest, file in files.items() if digest in present - usable),
        missing=tuple(file for digest, file in files.items() if digest not in present),
    )
