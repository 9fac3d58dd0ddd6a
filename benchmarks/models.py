"""Models for the benchmarks of pulling, and how they get into a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import sys
import tarfile
import threading
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


def push_packed(*, count: int, reference: OciReference) -> None:
    """``count`` files of 4 KiB in one packed layer, as ``oras push FOLDER`` makes it, which both clients unpack."""
    draw = random.Random(count)
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for index in range(count):
            if index % 1000 == 0:  # oras makes no folder that has no entry
                tar.addfile(_folder_entry(f"model/{index // 1000:02d}"))
            member = tarfile.TarInfo(f"model/{index // 1000:02d}/{index:05d}")
            member.size = SMALL_BYTES
            tar.addfile(member, io.BytesIO(draw.randbytes(SMALL_BYTES)))
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
