"""KitOps ModelKits that take their model from another one.

A Kitfile's ``model.path`` may be a reference instead of a path (kitops-ml/kitops, IsModelKitReference); such a kit has
no layer with the model, and its readers pull the other one too. Warmset reads one artifact a reference, so it says so
rather than give a model without weights.
"""

from __future__ import annotations

import msgspec

from api.errors import InvalidArtifact, UnsupportedSource
from cache.sources.oci.manifest import Manifest
from cache.sources.oci.mediatypes import KIT_CONFIG, KIT_LAYER_PREFIX

MAX_KITFILE_BYTES = 1 << 20
_MODEL_LAYER = f"{KIT_LAYER_PREFIX}model."


class _Model(msgspec.Struct):
    path: str = ""


class _Kitfile(msgspec.Struct):
    model: _Model | None = None


def lacks_model(manifest: Manifest) -> bool:
    """Whether only the Kitfile, the manifest's config, can tell where the model is."""
    return manifest.config.media_type == KIT_CONFIG and not any(
        layer.media_type.startswith(_MODEL_LAYER) for layer in manifest.layers
    )


def refuse_parent(kitfile: bytes) -> None:
    """Raises UnsupportedSource where the Kitfile names another ModelKit, InvalidArtifact where it cannot be read."""
    try:
        model = msgspec.json.decode(kitfile, type=_Kitfile).model
    except msgspec.DecodeError as error:
        raise InvalidArtifact("the ModelKit's Kitfile is malformed") from error
    if model is not None and (":" in model.path or "@" in model.path):
        raise UnsupportedSource(
            f"the ModelKit takes its model from another one, {model.path[:200]!r}, which is not followed",
            hint="name that one, or pack a ModelKit that holds the model itself",
        )
