"""Container images that carry a model: only /models counts, and layers lie over each other as the image spec says."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import InvalidArtifact, UnsafePath
from api.reference import parse_reference
from api.tree import TreeFile
from cache.pull import pull
from cache.sources import SourceOptions
from cache.sources.oci.image import Change, is_elsewhere, overlay, whiteout
from cache.sources.oci.mediatypes import IMAGE_CONFIGS
from cache.store import Store
from tests.support.fake_registry import OCI_MANIFEST, FakeRegistry

Entries = Mapping[str, bytes | Callable[[tarfile.TarInfo], None]]
LAYER = "application/vnd.oci.image.layer.v1.tar"
PACKERS = {"": bytes, "+gzip": gzip.compress, "+zstd": zstandard.ZstdCompressor().compress}


def pack(entries: Entries) -> bytes:
    """A layer; a function makes an entry something else than a file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                content(entry)
                archive.addfile(entry)
    return target.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarInfo], None]:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname = kind, target

    return change


def folder(entry: tarfile.TarInfo) -> None:
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755


def setuid(entry: tarfile.TarInfo) -> None:
    entry.mode = 0o4755
    entry.pax_headers = {"SCHILY.xattr.security.capability": "x"}


def bring(registry: FakeRegistry, store: Store, *layers: Entries, packing: str = "") -> dict[str, bytes]:
    blobs = [PACKERS[packing](pack(entries)) for entries in layers]
    described = [
        {"mediaType": LAYER + packing, "digest": str(registry.add_blob(blob)), "size": len(blob)} for blob in blobs
    ]
    config = {"mediaType": IMAGE_CONFIGS[0], "digest": str(registry.add_blob(b"{}")), "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": described}
    registry.add_manifest("m/car", "v1", document)
    options = SourceOptions(plain_http=frozenset({registry.host}))
    pulled = pull(store, parse_reference(f"oci://{registry.host}/m/car:v1"), options=options)
    return {
        file.relative_to(pulled.path).as_posix(): file.read_bytes() for file in pulled.path.rglob("*") if file.is_file()
    }


SYSTEM: Entries = {
    "bin": folder,
    "bin/busybox": b"elf",
    "bin/sh": link("busybox"),
    "bin/ls": link("bin/busybox", tarfile.LNKTYPE),
    "bin/su": setuid,
    "dev/null": link("", tarfile.CHRTYPE),
    "etc/systemd\\x2dunit": b"odd but elsewhere",
    "etc/" + "long" * 60: link("l" * 300),
}


@pytest.mark.parametrize("packing", PACKERS)
def test_the_files_under_models_are_the_model(registry: FakeRegistry, store: Store, packing: str) -> None:
    model: Entries = {"models": folder, "./models/config.json": b"{}", "models/sub/weights.safetensors": b"w" * 3000}
    assert bring(registry, store, SYSTEM, model, packing=packing) == {
        "config.json": b"{}",
        "sub/weights.safetensors": b"w" * 3000,
    }


def test_a_later_layer_replaces_removes_and_empties(registry: FakeRegistry, store: Store) -> None:
    first: Entries = {f"models/{name}": b"1" for name in ("kept", "replaced", "removed", "a/x", "a/y", "b/x", "file/x")}
    second: Entries = {
        "models/replaced": b"2",
        "models/.wh.removed": b"",
        "models/a/.wh..wh..opq": b"",
        "models/a/new": b"2",
        "models/.wh.b": b"",
        "models/file": b"2",
    }
    assert bring(registry, store, first, second) == {
        "kept": b"1",
        "replaced": b"2",
        "a/new": b"2",
        "file": b"2",
    }


def test_a_whiteout_leaves_its_own_layer_alone(registry: FakeRegistry, store: Store) -> None:
    assert bring(registry, store, {"models/.wh.a": b"", "models/a": b"1"}) == {"a": b"1"}


@pytest.mark.parametrize("gone", [".wh.models", ".wh..wh..opq", "models/.wh..wh..opq"])
def test_a_layer_may_begin_models_anew(registry: FakeRegistry, store: Store, gone: str) -> None:
    assert bring(registry, store, {"models/old": b"1"}, {gone: b"", "models/new": b"2"}) == {"new": b"2"}


HOSTILE: dict[str, Entries] = {
    "link": {"models/a": link("/etc/passwd")},
    "folder that is a link": {"models": link("/etc")},
    "hard link": {"models/a": link("/etc/passwd", tarfile.LNKTYPE)},
    "device": {"models/a": link("", tarfile.CHRTYPE)},
    "pipe": {"models/a": link("", tarfile.FIFOTYPE)},
    "setuid": {"models/a": setuid},
    "file in the folder's place": {"models": b"a file"},
    "whiteout of ..": {"models/.wh...": b""},
    "whiteout of nothing": {"models/.wh.": b""},
    "out of the folder": {"models/../etc/x": b""},
    "into the folder": {"etc/../models/x": b""},
    "absolute": {"/models/x": b""},
    "empty name": {"models//x": b""},
    "link to a link elsewhere": {"etc/x": link("y"), "models/a": link("../etc/x")},
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_but_plain_files_in_models_is_refused(registry: FakeRegistry, store: Store, hostile: Entries) -> None:
    with pytest.raises(InvalidArtifact):
        bring(registry, store, {"models/good": b"1"}, hostile)
    assert store.trees() == []


def test_a_folder_that_a_later_layer_makes_a_link_is_refused(registry: FakeRegistry, store: Store) -> None:
    with pytest.raises(InvalidArtifact, match="symbolic link"):
        bring(registry, store, {"models/a/x": b"1"}, {"models/a": link("/etc")}, {"models/a/y": b"2"})


def test_an_image_without_a_model_is_said(registry: FakeRegistry, store: Store) -> None:
    with pytest.raises(InvalidArtifact, match="/models"):
        bring(registry, store, SYSTEM)


@pytest.mark.parametrize("name", ["modelsx", "etc/models", "models.json", ".wh.etc", "./etc", "./"])
def test_a_name_beside_models_is_elsewhere(name: str) -> None:
    assert is_elsewhere(name)


@given(st.text(alphabet="models/.\\", max_size=20))
def test_no_name_that_resolves_into_models_is_elsewhere(name: str) -> None:
    try:
        elsewhere = is_elsewhere(name)
    except UnsafePath:
        return
    parts = [part for part in name.split("/") if part not in ("", ".")]
    assert not (elsewhere and parts[:1] == ["models"])


names = st.sampled_from(["a", "b", "a/a", "a/b", "a/b/c", "b/a"])
changes = st.builds(
    lambda names, removed, emptied: Change(
        tuple(TreeFile(name, 1, Digest(f"{len(name):064x}")) for name in names if not _has_folder(name, names)),
        frozenset(removed),
        frozenset(emptied),
    ),
    st.lists(names, unique=True, max_size=3),
    st.sets(names, max_size=2),
    st.sets(st.sampled_from(["", "a", "a/b", "b"]), max_size=2),
)


def _has_folder(name: str, others: list[str]) -> bool:
    return any(name.startswith(f"{other}/") for other in others)


@given(st.lists(changes, max_size=4))
def test_layers_lie_over_each_other_as_if_applied_one_by_one(layers: list[Change]) -> None:
    disk: dict[str, TreeFile] = {}
    for change in layers:
        for path in list(disk):
            inside = any(path.startswith(f"{folder}/") or folder == "" for folder in change.emptied)
            if inside or any(path == gone or path.startswith(f"{gone}/") for gone in change.removed):
                del disk[path]
        for file in change.files:
            for path in list(disk):
                if path.startswith(f"{file.path}/") or file.path.startswith(f"{path}/"):
                    del disk[path]
            disk[file.path] = file
    assert sorted(overlay(layers)) == sorted(disk.values())


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("models/a", None),
        ("models/.wh.a", ("a", False)),
        ("models/sub/.wh.a", ("sub/a", False)),
        ("models/sub/.wh..wh..opq", ("sub", True)),
        ("models/.hidden.wh.", None),
    ],
)
def test_a_whiteout_is_told_by_its_name(name: str, hidden: tuple[str, bool] | None) -> None:
    assert whiteout(name) == hidden
