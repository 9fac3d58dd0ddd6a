"""Decompression in a process of its own: packed bytes in, unpacked bytes out, and no way to anything else.

    python -I -m cache.archives.inflate tar+gzip|tar+zstd SIZE      SIZE is that of the whole input, in bytes

Ends with REFUSED and what is wrong with the archive on stderr, message and hint a line each.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn, cast

from api.errors import InvalidArtifact
from cache.archives.confine import confine
from cache.archives.packing import Packing, unpacking

REFUSED = 3
BUFFER_BYTES = 1 << 20
# The interpreter maps 50 MiB, zstd's window takes 128 MiB at most.
MEMORY_BYTES = 512 << 20
# A packed MiB gives 200 MiB at most, which takes half a second on a slow core.
CPU_S = 60
CPU_BYTES_PER_S = 1 << 20


def main(packing: Packing, size: int) -> NoReturn:
    scratch, window = memoryview(bytearray(BUFFER_BYTES)), memoryview(bytearray(BUFFER_BYTES))
    fill = unpacking(lambda buffer: os.readv(0, [buffer]), packing=packing, size=size, scratch=scratch)
    confine(memory_bytes=MEMORY_BYTES, cpu_s=CPU_S + size // CPU_BYTES_PER_S)
    try:
        while filled := fill(window):
            rest = window[:filled]
            while rest:
                rest = rest[os.write(1, rest) :]
    except InvalidArtifact as error:
        _refuse(error.message, error.hint)
    except MemoryError:
        _refuse("an archive takes more memory to unpack than any tool needs", "")
    except BrokenPipeError:
        pass  # nobody wants the rest
    os._exit(0)  # the interpreter's own end would make calls that are forbidden by now


def _refuse(message: str, hint: str) -> NoReturn:
    os.write(2, f"{message}\n{hint}".encode())
    os._exit(REFUSED)


if __name__ == "__main__":
    main(cast("Packing", sys.argv[1]), int(sys.argv[2]))
