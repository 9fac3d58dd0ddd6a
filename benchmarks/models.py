"""Models for the benchmarks of pulling, and how they get into a registry."""

from __future__ import annotations

import array
import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from api.digest import Digest
from api.reference import OciReference
from benchmarks.measure import measured
from cache.http.network import Network
from cache.http.retry import RetryPolicy
from cache.sources.oci.mediatypes import IMAGE_LAYER_TARGZ, OCI_MANIFEST, ORAS_UNPACK, TITLE
from cache.sources.oci.registry import Repository
from cache.sources.oci.upload import Upload
from cache.sources.options import SourceOptions

SMALL_BYTES = 4 << 10


def make_model(folder: Path, *, files: int, total: int) -> None:
    """``files`` files of random bytes, ``total`` together."""
    folder.mkdir(parents=True)
    draw = random.Random(files)
    for index in range(files):
        with (folder / f"model-{index:05d}-of-{files:05d}.safetensors").open("wb") as file:
            left = total // files
            while left:
                left -= file.write(draw.randbytes(min(left, 16 << 20)))


def make_small_files(folder: Path, *, count: int) -> None:
    """``count`` files of 4 KiB. Their names are short, so that a manifest of 15,000 stays below the 4 MiB which
    registries take."""
    folder.mkdir(parents=True)
    draw = random.Random(count)
    for index in range(count):
        (folder / f"{index:05d}").write_bytes(draw.randbytes(SMALL_BYTES))


def push_files(folder: Path, *, reference: OciReference) -> None:
    """A layer a file, as ``warmset push`` makes them."""
    measured([sys.executable, "-m", "cli.main", "push", "--plain-http", folder, str(reference)])


def small_members(*, count: int) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of ``count`` files of 4 KiB, a thousand in a folder."""
    draw = random.Random(count)
    for index in range(count):
        yield f"model/{index // 1000:02d}/{index:05d}", draw.randbytes(SMALL_BYTES)


def weight_members(*, files: int, total: int) -> Iterator[tuple[str, bytes]]:
    """``files`` files of bfloat16 numbers around zero, ``total`` bytes together: gzip takes a fifth off them, as off
    weights. They repeat after 4 MiB, which is farther back than it looks."""
    draw = random.Random(files)
    singles = array.array("f", (draw.gauss(0, 0.02) for _ in range(2 << 20))).tobytes()
    halves = bytearray(len(singles) // 2)
    halves[0::2], halves[1::2] = singles[2::4], singles[3::4]
    size = total // files
    for index in range(files):
        first = bytes(halves[2 * index :])  # each file begins elsewhere, so that no two are the same
        rest = bytes(halves) * (size // len(halves) + 1)
        yield f"model/model-{index:05d}-of-{files:05d}.safetensors", (first + rest)[:size]


def push_packed(members: Iterable[tuple[str, bytes]], *, reference: OciReference) -> None:
    """One tar+gzip layer, as ``oras push FOLDER`` makes it, which both clients unpack."""
    packed = io.BytesIO()
    folders = set[str]()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, content in members:
            folder = path.rpartition("/")[0]
            if folder not in folders:
                folders.add(folder)
                tar.addfile(_folder_entry(folder))  # oras makes no folder that has no entry
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    options = SourceOptions(plain_http=frozenset({reference.host}))
    session = Repository(reference, options=options, network=Network()).session()
    upload = Upload(session, RetryPolicy(), threading.Event(), lambda _: None)
    content, config = packed.getvalue(), b"{}"
    for blob in (content, config):
        upload.small_blob(_digest(blob), blob)
    layer = {
        "mediaType": IMAGE_LAYER_TARGZ,
        "digest": str(_digest(content)),
        "size": len(content),
        "annotations": {TITLE: "model", ORAS_UNPACK: "true"},
    }
    described = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(_digest(config)), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [layer]}
    upload.manifest(reference.manifest, body=json.dumps(manifest).encode(), media_type=OCI_MANIFEST)
    session.close()


def _folder_entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def _digest(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())
