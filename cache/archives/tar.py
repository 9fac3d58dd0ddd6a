"""Tar as it streams past, read strictly: regular files and folders, nothing else.

Not the standard library's tarfile, whose filters were bypassed several times (CVE-2025-4517 and its siblings), which
loops on negative sizes (CVE-2025-8194) and takes header records of any length into memory. Formats: POSIX ustar and
pax (IEEE 1003.1, "pax"), and GNU's long names and base-256 sizes, which large files need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from api.errors import InvalidArtifact
from api.tree import MAX_FILES, safe_path

BLOCK = 512
_MAX_RECORD_BYTES = 64 * 1024  # a pax or long-name record; a path may have 4 KiB
_MAX_HEADERS = 4 * MAX_FILES  # folders and extension records included
_REGULAR, _FOLDER = (b"0", b"\0"), b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_EXTENSIONS = (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"7": "a contiguous file",
    b"S": "a sparse file",
}
_CONTIGUOUS, _SPARSE = b"7", b"S"
_HARMLESS_PAX = frozenset(("mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "path", "size"))

Fill = Callable[[memoryview], int]


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file: its checked path and its size in bytes. Its content is what the stream gives next."""

    path: str
    size: int


class TarStream:
    """``fill`` fills a buffer, or what is left of the archive, and returns how much. ``window`` holds what was read;
    its length must be a multiple of the block. Owned by one thread.

    Entries whose names ``ignores`` are passed over, whatever they are: a container image holds a whole system."""

    def __init__(self, fill: Fill, window: memoryview, *, ignores: Callable[[str], bool] | None = None) -> None:
        self._fill = fill
        self._window = window
        self._ignores = ignores
        self._low = self._high = 0
        self._left = 0  # bytes of the current member's content
        self._padding = 0
        self._headers = 0

    def next(self) -> Member | None:
        """The next regular file, what is unread of the last one being skipped; None at the end of the archive.

        Raises InvalidArtifact or UnsafePath for anything that is not plainly right.
        """
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        records: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind, name, size, mode = header
            if kind in _EXTENSIONS:
                self._extend(records, kind, self._record(size))
                continue
            name = records.get("path", name)
            size = _decimal(records["size"]) if "size" in records else size
            if self._ignores is not None and self._ignores(name):
                self._pass_over(kind, name, size)
                records = {}
                continue
            if "other" in records:
                raise InvalidArtifact(f"the archive uses pax records of kind {records['other'][:60]!r}")
            if kind in _REGULAR and name.endswith("/"):  # how the oldest format marks a folder
                kind = _FOLDER
            _check(kind, name, size=size, mode=mode)
            if kind == _FOLDER:
                _folder_path(name)
                records = {}
                continue
            self._left = size
            self._padding = -size % BLOCK
            return Member(safe_path(name.removeprefix("./")), size)
        if records:
            raise InvalidArtifact("the archive ends inside a file's header")
        return None

    def read(self, most: int) -> memoryview:
        """Some of the current member's content, valid until the next call; empty at its end."""
        piece = self._take(min(most, self._left))
        self._left -= len(piece)
        return piece

    def finish(self) -> None:
        """After the last member: only zeros may follow. Raises InvalidArtifact."""
        while True:
            if self._low == self._high and not self._refill():
                return
            if any(self._window[self._low : self._high]):
                raise InvalidArtifact("the archive goes on after its end")
            self._low = self._high

    def _header(self) -> tuple[bytes, str, int, int] | None:
        self._headers += 1
        if self._headers > _MAX_HEADERS:
            raise InvalidArtifact(f"the archive has more than {_MAX_HEADERS} entries")
        block = self._block()
        if not any(block):
            return None
        summed = block[:148] + block[156:]
        # Most of a header is zeros, which add nothing: it is summed without them, in a fraction of the time.
        if _number(block[148:156]) != sum(summed.translate(None, b"\0")) + 8 * 0x20:
            raise InvalidArtifact("the archive has a header with a wrong checksum")
        name = _text(block[0:100])
        if block[257:263] == b"ustar\0" and block[345]:
            name = f"{_text(block[345:500])}/{name}"
        return block[156:157], name, _number(block[124:136]), _number(block[100:108])

    def _pass_over(self, kind: bytes, name: str, size: int) -> None:
        if kind == _SPARSE or (size and kind not in (*_REGULAR, _CONTIGUOUS)):  # else readers differ on what is skipped
            raise InvalidArtifact(f"archive: {name[:120]!r} is {_REFUSED.get(kind, f'of type {kind!r}')} with content")
        self._skip(size + -size % BLOCK)

    def _extend(self, records: dict[str, str], kind: bytes, data: bytes) -> None:
        if kind == _LONG_NAME:
            found = {"path": _decode(data.rstrip(b"\0"))}
        elif kind == _LONG_LINK:
            found = {"linkpath": ""}
        else:
            found = parse_pax(data)
        other = next((key for key in found if key not in _HARMLESS_PAX), None)
        if other is not None:
            if self._ignores is None or kind == _PAX_GLOBAL:
                raise InvalidArtifact(f"the archive uses pax records of kind {other[:60]!r}")
            records["other"] = other  # refused unless its entry is ignored
        if kind == _PAX_GLOBAL and found.keys() & {"path", "size"}:
            raise InvalidArtifact("the archive gives all files one name or size")
        if found.keys() & records.keys() & {"path", "size"}:
            raise InvalidArtifact("the archive names a file twice over")
        records.update((key, value) for key, value in found.items() if key in ("path", "size"))

    def _record(self, size: int) -> bytes:
        if size > _MAX_RECORD_BYTES:
            raise InvalidArtifact(f"the archive has a header record of {size} bytes")
        data = bytearray()
        while len(data) < size + -size % BLOCK:
            data += self._block()
        return bytes(data[:size])

    def _block(self) -> bytes:
        block = bytes(self._take(BLOCK))
        if len(block) < BLOCK:
            raise InvalidArtifact("the archive is cut short")
        return block

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._take(count))

    def _take(self, most: int) -> memoryview:
        """At least one byte, and a whole block where one is asked: the window's length is a multiple of it."""
        if not most:
            return self._window[:0]
        if self._low == self._high and not self._refill():
            raise InvalidArtifact("the archive is cut short")
        piece = self._window[self._low : min(self._low + most, self._high)]
        self._low += len(piece)
        return piece

    def _refill(self) -> bool:
        self._low, self._high = 0, self._fill(self._window)
        return self._high > 0


def parse_pax(data: bytes) -> dict[str, str]:
    """Records of ``<length> <key>=<value>\\n``. Raises InvalidArtifact."""
    found: dict[str, str] = {}
    while data:
        digits, space, rest = data.partition(b" ")
        length = _decimal(digits.decode("latin-1"))
        record = rest[: length - len(digits) - 1]
        key_bytes, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not space or not equals or len(digits) + 1 + len(record) != length or not record.endswith(b"\n"):
            raise InvalidArtifact("the archive has a malformed pax record")
        key = _decode(key_bytes)
        if key in found:
            raise InvalidArtifact(f"the archive has the pax record {key!r} twice")
        found[key] = _decode(value)
        data = data[length:]
    return found


def _check(kind: bytes, name: str, *, size: int, mode: int) -> None:
    if kind not in (*_REGULAR, _FOLDER):
        raise InvalidArtifact(f"archive: {name[:120]!r} is {_REFUSED.get(kind, f'of type {kind!r}')}")
    if kind in _REGULAR and mode & 0o6000:
        raise InvalidArtifact(f"archive: {name[:120]!r} is marked to run as its owner")
    if kind == _FOLDER and size:
        raise InvalidArtifact(f"archive: folder {name[:120]!r} has a size")


def _folder_path(name: str) -> None:
    path = name.removeprefix("./").rstrip("/")
    if path not in ("", "."):
        safe_path(path)


def _number(field: bytes) -> int:
    """A numeric header field: octal, or base-256 as GNU writes sizes from 8 GiB."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 63:
            raise InvalidArtifact("the archive has a negative or absurd number")
        return value
    digits = field.strip(b" \0")
    if digits.translate(None, b"01234567"):  # int() would also take signs and underscores
        raise InvalidArtifact("the archive has a header with a malformed number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidArtifact("the archive has a malformed number")
    return int(text)


def _text(field: bytes) -> str:
    return _decode(field.partition(b"\0")[0])


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArtifact("the archive has a name that is not UTF-8") from error
