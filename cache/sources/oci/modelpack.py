"""A folder's files as a ModelPack manifest (model spec v1). Pure and deterministic: equal files, equal digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from api.digest import Digest
from api.tree import TreeFile
from cache.sources.oci.mediatypes import (
    MODEL_CONFIG,
    MODEL_FILEPATH,
    MODEL_LAYER_PREFIX,
    MODEL_MANIFEST,
    OCI_MANIFEST,
    TITLE,
)

# Kinds of files as modctl sorts them; anything unknown counts as weights, which every reader takes.
_CONFIG = frozenset(
    (".json", ".jsonl", ".yaml", ".yml", ".toml", ".txt", ".model", ".jinja", ".ini", ".cfg", ".vocab", ".tiktoken")
)
_DOC = frozenset((".md", ".pdf", ".rst", ".html", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ipynb"))
_CODE = frozenset((".py", ".sh", ".js", ".ts", ".go", ".rs", ".c", ".cc", ".cpp", ".h", ".hpp", ".cu", ".java", ".lua"))
_DOC_NAMES = ("readme", "license", "licence", "notice", "use_policy", "changelog")


def media_type(path: str) -> str:
    """The media type of a raw layer that holds ``path``."""
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if name.startswith(_DOC_NAMES) or suffix in _DOC:
        kind = "doc"
    elif suffix in _CODE:
        kind = "code"
    elif suffix in _CONFIG:
        kind = "weight.config"
    else:
        kind = "weight"
    return f"{MODEL_LAYER_PREFIX}{kind}.v1.raw"


def make_config(files: Sequence[TreeFile]) -> bytes:
    """The config blob. It holds no time and no name, so that the same files make the same artifact anywhere."""
    weights = {PurePosixPath(f.path).suffix for f in files if media_type(f.path).endswith(".weight.v1.raw")}
    config = {"format": weights.pop().lstrip(".")} if len(weights) == 1 and weights != {""} else {}
    diff_ids = [str(file.digest) for file in files]
    return _encode({"config": config, "descriptor": {}, "modelfs": {"diffIds": diff_ids, "type": "layers"}})


def make_manifest(files: Sequence[TreeFile], *, config: bytes, config_digest: Digest) -> bytes:
    """One raw layer a file. The title annotation beside the path lets plain ORAS clients pull it too."""
    layers = [
        {
            "annotations": {MODEL_FILEPATH: file.path, TITLE: file.path},
            "digest": str(file.digest),
            "mediaType": media_type(file.path),
            "size": file.size,
        }
        for file in files
    ]
    return _encode(
        {
            "artifactType": MODEL_MANIFEST,
            "config": {"digest": str(config_digest), "mediaType": MODEL_CONFIG, "size": len(config)},
            "layers": layers,
            "mediaType": OCI_MANIFEST,
            "schemaVersion": 2,
        }
    )


def _encode(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
