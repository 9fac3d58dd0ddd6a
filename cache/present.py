"""Find what was pulled before, without opening the store: no lock, and a fraction of the imports.

So it is answered at once, also while another process brings something else into the same root. It only looks, and says
that the tree is used; whoever removes a tree at this moment does so as it would a moment later.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cache.origin import Origin
from cache.pulled import Pulled
from cache.sources.current import current
from cache.sources.options import SourceOptions
from cache.store import trees
from cache.store.identity import is_of_this_format
from cache.store.layout import Layout
from cache.store.records import read_pull, write_use


def find_present(root: Path, origin: Origin, *, options: SourceOptions) -> Pulled | None:
    """The tree that was pulled into the store at ``root`` under this very origin's text, where the origin still names
    the same revision and every file is there. The source is asked only where something was pulled.

    None where any of that cannot be told: a pull tells. Raises named errors and OSError.
    """
    layout = Layout(root)
    record = read_pull(layout, str(origin))
    if record is None or not is_of_this_format(root):
        return None
    pinned = current(origin.reference, options=options)
    if pinned is None or str(Origin(pinned, origin.wanted, origin.layout)) != record.source:
        return None
    tree = trees.read(layout, record.tree)
    if tree is None:
        return None
    origin.wanted.check(file.path for file in tree.files)
    with contextlib.suppress(FileNotFoundError):  # a store that is just being opened empties its scratch folder
        write_use(layout, tree.digest, group="")
    path = layout.tree(tree.digest)
    return Pulled(record.revision, tree, path, bytes_origin=0, bytes_reused=tree.size, source=record.source)
