"""A tar layer of the store into files of the store, each kept under its own sha256.

The layer is a blob like any other until then: fetched by chunks, resumed after a kill, verified. Its files enter the
store as they stream past; under their own digests they claim nothing. They become part of a tree only when the layer
was right to its last byte, read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api.digest import Digest
from api.errors import Corrupted, InvalidArtifact
from api.tree import MAX_FILES, TreeFile
from cache.archives.stream import LayerStream
from cache.archives.tar import Member, TarStream
from cache.sources.artifact import Archive, Filter
from cache.sources.oci.image import FOLDER, Change, below, is_elsewhere, overlay, whiteout
from cache.store.draft import Draft
from cache.store.failures import disk_errors
from cache.store.small import SMALL_BYTES
from cache.store.store import Store

_WINDOW_BYTES = 2 << 20


def unpack(
    store: Store,
    archive: Archive,
    *,
    draft: Draft,
    wanted: Filter,
    on_bytes: Callable[[int], None],
    tick: Callable[[], None],
) -> Change:
    """Take the files that ``wanted`` lets through into ``store``, small ones by way of ``draft``; returns what the
    layer holds. Room for each is made sure of before it is written.

    ``on_bytes`` and ``tick`` as of LayerStream. Raises InvalidArtifact or UnsafePath for what must not be unpacked,
    InsufficientCache, DiskError, or Corrupted when the stored layer rotted: then it is in quarantine.
    """
    try:
        with (
            disk_errors(f"unpacking {archive.digest}"),
            LayerStream(
                store.blob_path(archive.digest),
                packing=archive.packing,
                size=archive.size,
                on_bytes=on_bytes,
                tick=tick,
            ) as layer,
        ):
            window = memoryview(bytearray(_WINDOW_BYTES))
            stream = TarStream(layer.fill, window, ignores=is_elsewhere if archive.image else None)
            change = _take(stream, store=store, draft=draft, image=archive.image, wanted=wanted)
            if layer.digest() == archive.digest:
                tick()  # all of it is done now
                return change
    except InvalidArtifact:
        # Made so, or rotted since it was verified? Its digest tells.
        checked = store.check_blob(archive.digest)
        if checked.state == "right":
            raise
    store.drop_blob(archive.digest)
    raise Corrupted(f"layer {archive.digest} rotted on the disk before it was unpacked", hint="pull the model again")


def overlaid(archives: Sequence[Archive], changes: Sequence[Change]) -> list[TreeFile]:
    """What all archives hold together: beside each other, or, of an image's layers, over each other.

    Raises InvalidArtifact where an image holds no model."""
    if not any(archive.image for archive in archives):
        return [file for change in changes for file in change.files]
    files = overlay(changes)
    if not files:
        raise InvalidArtifact(
            f"the container image holds no file to take under /{FOLDER}", hint="is it a model's image at all?"
        )
    return files


def _take(stream: TarStream, *, store: Store, draft: Draft, image: bool, wanted: Filter) -> Change:
    files: list[TreeFile] = []
    removed: set[str] = set()
    emptied: set[str] = set()
    with store.small_files(draft) as small:
        while (member := stream.next()) is not None:
            path = member.path
            if image:
                if hidden := whiteout(path):
                    (emptied if hidden[1] else removed).add(hidden[0])
                    continue
                path = below(path)
            if not wanted.takes(path):
                continue
            wanted.check([path])
            if member.size <= SMALL_BYTES:
                digest = small.add(_whole(stream, member), path=path)
            else:
                digest = _stage(stream, member, store=store)
            files.append(TreeFile(path, member.size, digest))
            if len(files) > MAX_FILES:
                raise InvalidArtifact(f"an archive holds more than {MAX_FILES} files")
        stream.finish()
    return Change(tuple(files), frozenset(removed), frozenset(emptied))


def _stage(stream: TarStream, member: Member, *, store: Store) -> Digest:
    with store.stage(size=member.size) as staged:
        while len(piece := stream.read(member.size)):
            staged.write(piece)
        return staged.commit()


def _whole(stream: TarStream, member: Member) -> memoryview:
    """A small file's content, valid until the stream goes on."""
    piece = stream.read(member.size)
    if len(piece) == member.size:
        return piece
    content = bytearray(piece)
    while len(piece := stream.read(member.size)):
        content += piece
    return memoryview(content)
