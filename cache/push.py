"""Upload a folder as a ModelPack artifact: one raw layer a file, so that nodes share files and fetch ranges of them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from api.digest import Digest
from api.errors import Cancelled, InvalidRequest
from api.reference import Reference
from api.tree import Tree, TreeFile, safe_path
from cache.http.network import network_from_env
from cache.http.retry import RetryPolicy
from cache.sources.artifact import Filter
from cache.sources.oci.mediatypes import OCI_MANIFEST
from cache.sources.oci.modelpack import make_config, make_manifest
from cache.sources.oci.registry import Repository, Session
from cache.sources.oci.upload import Upload
from cache.sources.options import SourceOptions
from cache.sources.resolve import require_oci
from cache.transfer.progress import Meter, Progress

T = TypeVar("T")
R = TypeVar("R")
_READ_BYTES = 4 << 20
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Pushed:
    """``bytes_sent`` leaves out what the registry had already."""

    revision: str
    tree: Tree
    bytes_sent: int


def push(
    folder: Path,
    reference: Reference,
    *,
    options: SourceOptions,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    mount_from: str = "",
    workers: int = 4,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Pushed:
    """Upload all files below ``folder`` and tag them. Blobs that the repository has, or another one of the registry,
    ``mount_from``, are not sent again.

    Progress counts each file twice its size: once hashed, once uploaded or found there.
    Raises InvalidRequest for a folder that cannot be pushed, Cancelled, or what the registry's answers mean.
    """
    oci = require_oci(reference)
    if oci.digest is not None:
        raise InvalidRequest("a push names a tag, not a digest", hint=f"push to oci://{oci.host}/{oci.repository}:v1")
    stop = cancel or threading.Event()
    paths = list_files(folder, wanted=Filter(tuple(include), tuple(exclude)))
    total = sum(path.stat().st_size for path in paths.values())
    meter = Meter(bytes_total=2 * total, files_total=len(paths))
    repository = Repository(oci, options=options, network=network_from_env())
    sessions = _Sessions(repository)

    def tick() -> None:
        if on_progress is not None:
            on_progress(meter.snapshot())

    def hash_file(path: str) -> TreeFile:
        return _hash(path, paths[path], meter=meter, stop=stop)

    def upload(file: TreeFile) -> int:
        uploader = Upload(sessions.mine(), RetryPolicy(), stop, meter.reused, mount_from)
        return _upload(uploader, file, path=paths[file.path], meter=meter)

    with ThreadPoolExecutor(workers, thread_name_prefix="push") as pool:
        try:
            tree = Tree.of(_each(pool, hash_file, list(paths), tick=tick, stop=stop))
            distinct = list({file.digest: file for file in tree.files}.values())
            sent = sum(_each(pool, upload, distinct, tick=tick, stop=stop))
            revision = _upload_manifest(sessions.mine(), tree, tag=oci.manifest, stop=stop)
        except BaseException:
            stop.set()
            sessions.abort()
            raise
        finally:
            sessions.close()
    tick()
    return Pushed(str(revision), tree, sent)


def list_files(folder: Path, *, wanted: Filter) -> dict[str, Path]:
    """Paths below ``folder``, slash-separated, and where each file is. Links to files are followed, as hub caches
    need it; folders are not entered through links. Raises InvalidRequest, UnsafePath."""
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if not wanted.takes(path):
                continue
            if not file.is_file():
                raise InvalidRequest(f"{file} is not a regular file", hint="leave it out with --exclude")
            found[safe_path(path)] = file
    if not found:
        raise InvalidRequest(f"{folder} has no files to push")
    return found


class _Sessions:
    """One session a thread, all of which can be aborted."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._local = threading.local()
        self._all: list[Session] = []

    def mine(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._repository.session()
            self._all.append(session)
        return session

    def abort(self) -> None:
        for session in self._all:
            session.abort()

    def close(self) -> None:
        for session in self._all:
            session.close()


def _each(
    pool: ThreadPoolExecutor,
    work: Callable[[T], R],
    items: Sequence[T],
    *,
    tick: Callable[[], None],
    stop: threading.Event,
) -> list[R]:
    """``work`` on every item, in their order; the first failure is raised and the rest is not begun."""
    futures = [pool.submit(work, item) for item in items]
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, timeout=_TICK_S)
            tick()
            for future in done:
                future.result()
            if stop.is_set():
                raise Cancelled("the push was cancelled")
    except BaseException:
        for future in pending:
            future.cancel()
        raise
    return [future.result() for future in futures]


def _hash(path: str, file: Path, *, meter: Meter, stop: threading.Event) -> TreeFile:
    sha256, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_READ_BYTES))
    try:
        with file.open("rb", buffering=0) as opened:
            while got := opened.readinto(buffer):
                sha256.update(buffer[:got])
                size += got
                meter.reused(got)
                if stop.is_set():
                    raise Cancelled("the push was cancelled")
    except OSError as error:
        raise InvalidRequest(f"cannot read {file}: {error.strerror}") from error
    return TreeFile(path, size, Digest(sha256.hexdigest()))


def _upload(uploader: Upload, file: TreeFile, *, path: Path, meter: Meter) -> int:
    """Returns the bytes sent: none where the registry has the blob."""
    there = uploader.has_blob(file.digest) or uploader.mount(file.digest)
    if there:
        meter.reused(file.size)
    else:
        uploader.file(path, digest=file.digest, size=file.size)
    meter.finished()
    return 0 if there else file.size


def _upload_manifest(session: Session, tree: Tree, *, tag: str, stop: threading.Event) -> Digest:
    config = make_config(tree.files)
    digest = Digest(hashlib.sha256(config).hexdigest())
    uploader = Upload(session, RetryPolicy(), stop, lambda _: None)
    if not uploader.has_blob(digest):
        uploader.small_blob(digest, config)
    manifest = make_manifest(tree.files, config=config, config_digest=digest)
    return uploader.manifest(tag, body=manifest, media_type=OCI_MANIFEST)
