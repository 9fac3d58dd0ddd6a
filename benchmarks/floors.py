"""The least that a pull can cost: every byte received and hashed, and every byte written to the disk.

    python -m benchmarks.floors receive HOST REPOSITORY       all blobs of :v1, hashed, nothing written
    python -m benchmarks.floors write FOLDER FILES BYTES      as many bytes as fast as the disk takes them, and synced

Whoever verifies pays the first, whoever promises that the files are there after a power loss pays the second; they
overlap, so the floor is the larger of the two. Both use as many threads as a pull has workers.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

WORKERS = 4
PIECE = 4 << 20
BLOCK = 4096  # what O_DIRECT wants lengths to be a multiple of


def receive(host: str, repository: str) -> None:
    """Receive and hash all blobs, each over one kept connection a thread."""
    connection = http.client.HTTPConnection(host)
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    connection.request("GET", f"/v2/{repository}/manifests/v1", headers=accept)
    digests = [layer["digest"] for layer in json.loads(connection.getresponse().read())["layers"]]

    def work() -> None:
        own = http.client.HTTPConnection(host)
        buffer = memoryview(bytearray(PIECE))
        while True:
            try:
                digest = digests.pop()  # in one step of the interpreter: no other thread gets the same
            except IndexError:
                return
            own.request("GET", f"/v2/{repository}/blobs/{digest}")
            if f"sha256:{_hash_body(own, buffer)}" != digest:
                raise SystemExit(f"the floor hashed {digest} wrong")

    _in_threads(work)


def _hash_body(connection: http.client.HTTPConnection, buffer: memoryview) -> str:
    response = connection.getresponse()
    sha256, left = hashlib.sha256(), response.length or 0
    # What the header's read took from the body sits in the buffered file; after that, the bare socket.
    ahead = response.read(min(left, len(response.fp.peek())))
    sha256.update(ahead)
    left -= len(ahead)
    while left:
        filled = 0
        while filled < min(PIECE, left):
            filled += connection.sock.recv_into(buffer[filled : min(PIECE, left)])
        sha256.update(buffer[:filled])
        left -= filled
    response.close()  # read to its end: the connection is free for the next request
    return sha256.hexdigest()


def write(folder: Path, *, files: int, total: int) -> None:
    """Write and sync ``total`` bytes in ``files`` files past the page cache, which is the cheapest way for so many."""
    size = -(-total // files // BLOCK) * BLOCK
    opened = [os.open(folder / str(index), os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600) for index in range(files)]
    for fd in opened:
        os.posix_fallocate(fd, 0, size)
    todo = [(fd, offset) for fd in reversed(opened) for offset in reversed(range(0, size, PIECE))]

    def work() -> None:
        buffer = mmap.mmap(-1, PIECE)  # page-aligned, as O_DIRECT wants it
        buffer.write(os.urandom(PIECE))  # zeros might cost a virtual disk nothing
        with memoryview(buffer) as view:
            while True:
                try:
                    fd, offset = todo.pop()
                except IndexError:
                    return
                os.pwrite(fd, view[: min(PIECE, size - offset)], offset)

    _in_threads(work)
    for fd in opened:
        os.fsync(fd)


def _in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "receive":
        receive(*rest)
    else:
        write(Path(rest[0]), files=int(rest[1]), total=int(rest[2]))


if __name__ == "__main__":
    main()
