"""Compressed archives, unpacked as they stream: gzip (RFC 1952) and zstd (RFC 8878), of one member or several.

Whatever the input, memory stays at the caller's buffers (and zstd's window), and the output below a budget: a few
kilobytes can name petabytes of zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from api.errors import InvalidArtifact

Packing = Literal["tar", "tar+gzip", "tar+zstd"]
Fill = Callable[[memoryview], int]

# Weights hardly shrink, text does so tenfold; what grows more than this was made to fill a disk.
MAX_RATIO = 200
_FREE_BYTES = 16 << 20  # so that a small layer of well-compressing text is not measured by its ratio
MAX_UNPACKED_BYTES = 4 << 40
_MAX_ZSTD_WINDOW = 128 << 20  # what the zstd command itself takes without a switch


def unpacking(fill: Fill, *, packing: Packing, size: int, scratch: memoryview) -> Fill:
    """What fills buffers with the bytes that ``fill`` gives packed. ``scratch`` holds the input meanwhile.

    ``size`` is that of the whole input, in bytes. The result fills a buffer wholly, except at the end, and raises
    InvalidArtifact for what is damaged, cut short, followed by something else, or larger than its budget.
    """
    if packing == "tar":
        return fill
    inflate = _Gunzip(fill, scratch).fill if packing == "tar+gzip" else _Unzstd(fill, scratch).fill
    return _within(inflate, budget=min(MAX_RATIO * size + _FREE_BYTES, MAX_UNPACKED_BYTES), size=size)


def _within(fill: Fill, *, budget: int, size: int) -> Fill:
    left = budget

    def counted(buffer: memoryview) -> int:
        nonlocal left
        filled = 0
        while filled < len(buffer) and (got := fill(buffer[filled:])):
            filled += got
        left -= filled
        if left < 0:
            raise InvalidArtifact(
                f"an archive of {size} bytes unpacks to more than {budget}: refused as a decompression bomb",
                hint="push the model as raw files with `warmset push`",
            )
        return filled

    return counted


class _Gunzip:
    def __init__(self, fill: Fill, scratch: memoryview) -> None:
        # Not the standard library's zlib, which takes more than twice as long over weights, and they take longest.
        from isal import igzip_lib  # 2 ms that only such layers need

        self._fill = fill
        self._scratch = scratch
        self._new = partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP)
        self._failure: Any = igzip_lib.IsalError  # its stub takes the class for an instance
        self._member = self._new()  # an archive has at least one

    def fill(self, buffer: memoryview) -> int:
        while True:
            data: bytes | memoryview = self._member.unused_data
            if not data and (self._member.needs_input or self._member.eof):
                data = self._scratch[: self._fill(self._scratch)]
                if not data:
                    if not self._member.eof:
                        raise InvalidArtifact("a gzip archive is cut short")
                    return 0
            if self._member.eof:
                self._member = self._new()
            try:
                output = self._member.decompress(data, len(buffer))
            except self._failure as error:  # also for what follows a member and is none
                raise InvalidArtifact(f"a gzip archive is damaged: {error}") from error
            if output:
                buffer[: len(output)] = output
                return len(output)


class _Unzstd:
    def __init__(self, fill: Fill, scratch: memoryview) -> None:
        import zstandard  # 10 ms that only such layers need

        source: Any = _FramesOnly(fill, scratch)  # the library asks for a whole IO, and uses its read alone
        # Not decompressobj: it gives all output of its input at once, gigabytes for kilobytes.
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
        self._reader = decompressor.stream_reader(source, read_across_frames=True, closefd=False)
        self._failure = zstandard.ZstdError

    def fill(self, buffer: memoryview) -> int:
        try:
            return int(self._reader.readinto(buffer))
        except self._failure as error:
            raise InvalidArtifact(f"a zstd archive is damaged: {error}") from error


class _FramesOnly:
    """Hands input on, following its frames: the library takes an input that ends inside one for complete."""

    def __init__(self, fill: Fill, scratch: memoryview) -> None:
        self._fill = fill
        self._scratch = scratch
        self._step: Callable[[bytes], None] = self._magic
        self._head = bytearray()
        self._wanted = 4  # bytes of the next header
        self._skip = 0
        self._checksum = 0

    def read(self, size: int = -1) -> bytes:
        most = len(self._scratch) if size < 0 else min(size, len(self._scratch))
        filled = self._fill(self._scratch[:most])
        data = bytes(self._scratch[:filled])
        self._follow(data)
        if not data and (self._skip or self._head or self._step != self._magic):
            raise InvalidArtifact("a zstd archive is cut short")
        return data

    def _follow(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            piece = data[at : at + self._wanted - len(self._head)]
            self._head += piece
            at += len(piece)
            if len(self._head) == self._wanted:
                head, self._head = bytes(self._head), bytearray()
                self._step(head)

    def _next(self, step: Callable[[bytes], None], wanted: int, *, skip: int = 0) -> None:
        self._step, self._wanted, self._skip = step, wanted, skip

    def _magic(self, head: bytes) -> None:
        magic = int.from_bytes(head, "little")
        if magic == 0xFD2FB528:
            self._next(self._descriptor, 1)
        elif magic & ~0xF == 0x184D2A50:
            self._next(self._skippable, 4)
        else:
            raise InvalidArtifact("a zstd archive holds something that is no zstd frame")

    def _skippable(self, head: bytes) -> None:
        self._next(self._magic, 4, skip=int.from_bytes(head, "little"))

    def _descriptor(self, head: bytes) -> None:
        """RFC 8878, 3.1.1.1: which fields of the frame's header follow."""
        flags = head[0]
        single = flags >> 5 & 1
        content_size = (single, 2, 4, 8)[flags >> 6]
        self._checksum = 4 * (flags >> 2 & 1)
        self._next(self._block, 3, skip=(1 - single) + (0, 1, 2, 4)[flags & 3] + content_size)

    def _block(self, head: bytes) -> None:
        """RFC 8878, 3.1.1.2: a block of one repeated byte holds just that byte."""
        header = int.from_bytes(head, "little")
        size = 1 if header >> 1 & 3 == 1 else header >> 3
        if header & 1:
            self._next(self._magic, 4, skip=size + self._checksum)
        else:
            self._next(self._block, 3, skip=size)
