"""What a reference names at this moment, asked in one small request: enough to tell whether what was pulled is current.

A hint. None means that ``resolve`` must tell, which also says what is wrong.
"""

from __future__ import annotations

from api.reference import OciReference, Reference
from cache.sources.options import SourceOptions


def current(reference: Reference, *, options: SourceOptions) -> Reference | None:
    """``reference``, pinned; None where that takes more. Raises named errors and OSError, after one try."""
    if reference.is_pinned:
        return reference
    if isinstance(reference, OciReference):
        from cache.sources.oci.current import current_digest

        digest = current_digest(reference, options=options)
        return None if digest is None else reference.pinned(str(digest))
    if reference.scheme == "hf":
        from cache.sources.hf.current import current_commit

        commit = current_commit(reference, options=options)
        return None if commit is None else reference.pinned(commit)
    return None
