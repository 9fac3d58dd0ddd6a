"""A byte of a committed blob changes on the disk and then reads without any error: run as root in a private mount
namespace as

    unshare -m python -m tests.faults.store_bit_rot WORK

Prints what a verification and the scrub found, and what a repair made of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from threading import Event

from api.digest import Digest
from cache.store import Store
from cache.store.scrub import Scrub
from tests.faults import oracle
from tests.faults.store_scenario import digest_of, tree_of

BLOCK = 4096
IMAGE_BYTES = 64 << 20
PUBLICATION = "cd" * 32
GOOD, BAD = bytes([1]) * (5 << 20), bytes([2]) * (1 << 20)


def run(*command: str | Path) -> str:
    return subprocess.run(list(map(str, command)), check=True, timeout=20, capture_output=True, text=True).stdout


def put(store: Store, data: bytes) -> None:
    with store.stage() as staged:
        staged.write(data)
        staged.commit()


def place_of(blob: Path) -> int:
    """Where its bytes lie on the disk (FIEMAP, by filefrag)."""
    rows = re.findall(r"^ +\d+: +\d+\.\. +\d+: +(\d+)\.\.", run("filefrag", "-v", f"-b{BLOCK}", blob), re.MULTILINE)
    return int(rows[0]) * BLOCK


def main(work: Path) -> None:
    image, disk = work / "image", work / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), image)
    run("mount", "-o", "loop", image, disk)
    tree = tree_of({"good.bin": GOOD, "bad.bin": BAD})
    with Store.open(disk / "cache") as store:
        put(store, GOOD)
        put(store, BAD)
        store.publish_tree(tree)
        store.pin(PUBLICATION, tree=tree.digest, note={})
        at = place_of(store.blob_path(digest_of(BAD)))
    run("umount", disk)
    with image.open("r+b") as file:
        file.seek(at + 5)
        file.write(b"\xff")
    run("mount", "-o", "loop", image, disk)
    with Store.open(disk / "cache") as store:
        print([file.path for file in store.verify_tree(tree.digest)])
        scrub = Scrub(store, bytes_per_second=1 << 40, stop=Event())
        while True:
            if (found := scrub.step()) is not None:
                print(found.checked.state, named(found.digest))
            if not scrub.position.after:
                break
        print(store.tree(tree.digest) is None, store.has_blob(digest_of(GOOD), len(GOOD)))
        inode = (store.tree_path(tree.digest) / "good.bin").stat().st_ino
        put(store, BAD)
        store.publish_tree(tree)
        print(store.verify_tree(tree.digest), inode == (store.tree_path(tree.digest) / "good.bin").stat().st_ino)
        oracle.check_visible(disk / "cache")
    run("umount", disk)


def named(digest: Digest) -> str:
    return "bad.bin" if digest == digest_of(BAD) else "good.bin"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
