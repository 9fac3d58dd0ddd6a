"""Tar archives: what GNU tar, Python and pax write is read; anything that is no plain file or folder is refused."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidArtifact, UnsafePath
from cache.archives.tar import TarStream, parse_pax


def unpack(data: bytes, *, window: int = 1024) -> dict[str, bytes]:
    source = io.BytesIO(data)

    def fill(buffer: memoryview) -> int:
        return source.readinto(buffer)

    stream = TarStream(fill, memoryview(bytearray(window)))
    found: dict[str, bytes] = {}
    while (member := stream.next()) is not None:
        content = bytearray()
        while len(piece := stream.read(member.size)):
            content += piece
        assert len(content) == member.size
        found[member.path] = bytes(content)
    stream.finish()
    return found


def pack(files: dict[str, bytes], *, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mtime = 1.5  # makes a pax record
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def pack_one(change: Callable[[tarfile.TarInfo], None], *, content: bytes = b"x") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("a")
        entry.size = len(content)
        change(entry)
        archive.addfile(entry, io.BytesIO(content) if entry.size else None)
    return target.getvalue()


def header(**fields: bytes) -> bytes:
    """A block by hand, with its right checksum: for what tarfile refuses to write."""
    block = bytearray(512)
    places = {"name": 0, "mode": 100, "size": 124, "type": 156, "link": 157, "magic": 257}
    for name, value in {"name": b"a", "mode": b"0000644\0", "type": b"0", "magic": b"ustar\x0000", **fields}.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


END = bytes(1024)
FILES = {"config.json": b"{}", "sub/deep/model.bin": b"x" * 5000, "empty": b"", "d" * 90 + "/" + "n" * 60: b"long name"}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("window", [512, 1024, 1 << 20])
def test_what_python_packs_is_read(format: int, window: int) -> None:  # noqa: A002
    assert unpack(pack(FILES, format=format), window=window) == FILES


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar not found: apt-get install tar")
@pytest.mark.parametrize("format", ["gnu", "ustar", "pax", "v7"])
def test_what_gnu_tar_packs_is_read(tmp_path: Path, format: str) -> None:  # noqa: A002
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.bin").write_bytes(b"x" * 3000)
    (tmp_path / "config.json").write_bytes(b"{}")
    done = subprocess.run(["tar", f"--format={format}", "-cf", "-", "."], cwd=tmp_path, capture_output=True, check=True)
    assert unpack(done.stdout) == {"sub/model.bin": b"x" * 3000, "config.json": b"{}"}


@given(st.dictionaries(st.text("abc\u00e9", min_size=1, max_size=120), st.binary(max_size=2000), max_size=5))
def test_what_is_packed_comes_out(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_links_devices_and_pipes_are_refused(kind: bytes) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

    with pytest.raises(InvalidArtifact, match="is a"):
        unpack(pack_one(change))


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../b", "a//b", "a/./b", "..", "a\\b", "a\nb", "x" * 300])
def test_a_name_that_could_leave_the_tree_is_refused(path: str) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.name = path

    with pytest.raises(UnsafePath):
        unpack(pack_one(change))


def test_a_folder_that_could_leave_the_tree_is_refused() -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.name, entry.type, entry.size = "../up", tarfile.DIRTYPE, 0

    with pytest.raises(UnsafePath):
        unpack(pack_one(change))


def test_a_pax_record_may_not_smuggle_a_path() -> None:
    with pytest.raises(UnsafePath):
        unpack(pack_one(lambda entry: entry.pax_headers.update(path="../../x")))


@pytest.mark.parametrize("key", ["linkpath", "GNU.sparse.size", "SCHILY.xattr.user.x", "hdrcharset"])
def test_a_pax_record_that_changes_what_a_file_is_is_refused(key: str) -> None:
    with pytest.raises(InvalidArtifact, match="pax"):
        unpack(pack_one(lambda entry: entry.pax_headers.update({key: "1"})))


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_file_that_runs_as_its_owner_is_refused(mode: int) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.mode = mode

    with pytest.raises(InvalidArtifact, match="owner"):
        unpack(pack_one(change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header(size=b"00000000001\0"),
        header(size=b"00000000001\0") + b"x",
        header(size=b"00000000000\0"),
        header(size=b"-0000000001\0") + END,
        header(size=b"\xff" * 12) + END,
        header(size=b"\x80" + b"\x7f" * 11) + END,
        header(size=b"0000000000x\0") + END,
        header(size=b"00000000000\0")[:-1] + b"x" + END,
        header(size=b"00000000000\0") + END + b"trailing",
        header(size=b"00000000000\0", type=b"S") + END,
        header(size=b"00000000000\0", type=b"K") + END,
        header(size=b"00000000000\0", type=b"Z") + END,
        header(size=b"00000000001\0", type=b"5") + END,
        header(size=b"77777777777\0", type=b"x") + END,
        header(size=b"00000000000\0", name=b"\xff\xfe") + END,
        header(size=b"00000000016\0", type=b"g") + b"13 path=../x\n\0".ljust(512, b"\0") + END,
        header(size=b"00000000016\0", type=b"x") + b"99 path=a\n".ljust(512, b"\0") + END,
        header(size=b"00000000012\0", type=b"x") + b"10 path=a\n".ljust(512, b"\0") + END,
    ],
    ids=range(19),
)
def test_a_malformed_archive_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArtifact):
        unpack(data)


@given(st.binary(max_size=3000))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with contextlib.suppress(InvalidArtifact):
        unpack(data)


@given(st.integers(0, 4000), st.integers(0, 255))
def test_a_changed_byte_breaks_nothing(at: int, value: int) -> None:
    data = bytearray(pack(FILES))
    data[at] = value
    with contextlib.suppress(InvalidArtifact):
        unpack(bytes(data))


@given(st.binary(max_size=200))
def test_no_pax_record_breaks_the_reader(data: bytes) -> None:
    with contextlib.suppress(InvalidArtifact):
        parse_pax(data)


def test_sizes_beyond_eight_gibibytes_are_read_in_both_spellings() -> None:
    size = 9 << 30
    base_256 = b"\x80" + size.to_bytes(11, "big")
    record = b"19 size=9663676416\n"
    pax = header(size=f"{len(record):011o}\0".encode(), type=b"x") + record.ljust(512, b"\0")
    for data in (header(size=base_256), pax + header(size=b"00000000000\0")):
        source = io.BytesIO(data)
        member = TarStream(lambda buffer, s=source: s.readinto(buffer), memoryview(bytearray(512))).next()  # type: ignore[misc]
        assert member is not None
        assert member.size == size
