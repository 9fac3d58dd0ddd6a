"""The cold half of a pull: fetch what is missing, verify it, publish the tree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from api.digest import Digest
from api.errors import Cancelled, DigestMismatch, SourceChanged
from api.tree import Tree, TreeFile
from cache.archives.unpack import overlaid, unpack
from cache.exchange.group import Exchanges
from cache.intake import Intake
from cache.layouts import arrange
from cache.origin import Origin
from cache.prove import Proof
from cache.sources.artifact import Archive, Artifact, key_of
from cache.sources.source import Resolved
from cache.store.places import Known, Place
from cache.store.store import Store
from cache.together import fetch_together
from cache.transfer.engine import Settings, transfer
from cache.transfer.file import WantedFile
from cache.transfer.plan import plan
from cache.transfer.progress import Meter, Progress
from cache.transfer.throttle import Rate


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
    intake = Intake(store, place=place, unhashed=artifact.unhashed, trust_store=trust_store)
    wanted = [WantedFile(file.digest, file.size) for file in todo.missing]
    wanted += {file.key: WantedFile(file.key, file.size) for file in artifact.unhashed}.values()
    proofs = [Proof(file.digest, file.size, place) for file in todo.unproven]
    # An archive's files are known only once it is unpacked. Until then they are taken to be as large as it is.
    unpacked = {key_of("unpacked", str(archive.digest)): archive.size for archive in artifact.archives}
    with store.claim({**artifact.blobs, **unpacked}) as give_up:
        try:
            if exchanges is not None:
                shared = fetch_together(
                    resolved,
                    present=frozenset(file.digest for file in todo.reused),
                    origin=origin,
                    exchanges=exchanges,
                    store=store,
                    intake=intake,
                    open_session=lambda: resolved.open_session(artifact),
                    limit=limit,
                    meter=meter,
                    cancel=cancel,
                    on_progress=on_progress,
                )
                wanted = [file for file in wanted if file.digest not in shared]
                proofs = [proof for proof in proofs if proof.digest not in shared]
            transfer(
                [*proofs, *plan(wanted, workers=workers)],
                store=intake,
                open_session=lambda: resolved.open_session(artifact),
                settings=Settings(workers=workers, limit=limit),
                meter=meter,
                cancel=cancel,
                on_progress=on_progress,
            )
        except DigestMismatch as error:
            if len(artifact.unhashed) == len(resolved.artifact.unhashed):
                raise
            raise SourceChanged(
                f"{place.name}: {error.message}; the first pull fixed what it serves under this version",
                hint="ask whoever keeps the source; if the new bytes are right, give them a new name or version",
            ) from error
        give_up(unpacked)  # each file asks for its room now

        def tick() -> None:
            if cancel.is_set():
                raise Cancelled("the pull was cancelled")
            if on_progress is not None:
                on_progress(meter.snapshot())

        changes = [
            unpack(store, archive, wanted=origin.wanted, on_bytes=meter.reused, tick=tick)
            for archive in artifact.archives
        ]
        complete = artifact.with_hashes(intake.found)
        tree = Tree.of([*complete.files, *overlaid(artifact.archives, changes)])
        arranged = arrange(tree, layout=origin.layout, reference=origin.reference, git=resolved.artifact.unhashed)
        for _, content in arranged.made:
            with store.stage() as staged:
                staged.write(content)
                staged.commit()
        store.publish_tree(arranged.tree)
    if exchanges is None:  # else others may still want them
        store.remove_blobs([archive.digest for archive in artifact.archives])
    return Fetched(arranged.tree, bytes_origin=meter.snapshot().bytes_origin, bytes_reused=reused)


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
