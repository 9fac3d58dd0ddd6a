"""Where things lie below a store's root.

    .lock .cache-id             one owner per root; which root this is
    ingest/<hex>/               data, chunks.journal: a blob under way
    blobs/sha256/ab/<hex>       0444, complete and verified, or absent
    trees/<hex>/                folders 0555 of hard links to blobs
    trees/.new-* .trash-*       a tree being built (a draft, before its digest is known), or removed; swept at start
    pins/<id>                   one file a publication
    records/trees/<hex>         a tree's listing, whose sha256 is its name
    records/pulls/<hex of key>  pull records
    records/used/<hex>          when a tree was last used
    records/mending/<hex>       a mounted tree whose files are being replaced one by one
    records/scrub               how far the scrub has come
    quarantine/<hex>.<when>     blobs whose bytes went wrong, for whoever wants to know why
    .paused                     an operator wants no pulls and no evictions
    scratch/                    temporary files and blobs being deleted; emptied at start

Paths are built from Digest values and from tree paths that ``safe_path`` let through, from nothing else. A tree is
built and removed within ``trees/`` because moving a 0555 folder to another parent needs write permission on it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from api.digest import Digest
from cache.store.files import fsync_folder

NEW = ".new-"
TRASH = ".trash-"


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path

    @property
    def ingests(self) -> Path:
        return self.root / "ingest"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def trees(self) -> Path:
        return self.root / "trees"

    @property
    def pins(self) -> Path:
        return self.root / "pins"

    @property
    def listings(self) -> Path:
        return self.root / "records" / "trees"

    @property
    def pulls(self) -> Path:
        return self.root / "records" / "pulls"

    @property
    def uses(self) -> Path:
        return self.root / "records" / "used"

    @property
    def mending(self) -> Path:
        return self.root / "records" / "mending"

    @property
    def scrub(self) -> Path:
        return self.root / "records" / "scrub"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def ingest(self, digest: Digest) -> Path:
        return self.ingests / digest.hex

    def blob(self, digest: Digest) -> Path:
        return Path(self.blob_name(digest))

    def blob_name(self, digest: Digest) -> str:
        """``blob`` as text, for what is done to thousands of files: making a Path costs more than most system calls."""
        return f"{self.root}/blobs/sha256/{digest.hex[:2]}/{digest.hex}"

    def tree(self, digest: Digest) -> Path:
        return self.trees / digest.hex

    def new_tree(self, digest: Digest) -> Path:
        return self.trees / f"{NEW}{digest.hex}"

    def draft(self) -> Path:
        return self.trees / f"{NEW}{os.urandom(16).hex()}"

    def trash_tree(self, digest: Digest) -> Path:
        return self.trees / f"{TRASH}{digest.hex}-{os.urandom(4).hex()}"

    def listing(self, digest: Digest) -> Path:
        return self.listings / digest.hex

    def use(self, tree: Digest) -> Path:
        return self.uses / tree.hex

    def pull(self, key: str) -> Path:
        # A key may be any text, such as a reference with slashes: its hash is a safe file name.
        return self.pulls / hashlib.sha256(key.encode()).hexdigest()

    def create(self) -> None:
        """Make every folder that is not there, 0700 whatever the umask. Raises OSError."""
        shards = [self.blobs / f"{n:02x}" for n in range(256)]  # made once, so that no commit has to
        records = [self.listings.parent, self.listings, self.pulls, self.uses, self.mending]
        others = [self.trees, self.pins, self.quarantine, self.scratch]
        folders = [self.ingests, self.blobs.parent, self.blobs, *shards, *others, *records]
        missing = [folder for folder in folders if not folder.is_dir()]
        for folder in missing:
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)
        for parent in {folder.parent for folder in missing}:
            fsync_folder(parent)
