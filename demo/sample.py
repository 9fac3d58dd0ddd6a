"""A sample model: random safetensors shards with the small files that a real model has."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

SHARDS = 4
SHARD_BYTES = 64 << 20
LAYERS_PER_SHARD = 4


def make_model(folder: Path) -> dict[str, str]:
    """Write about 256 MiB below ``folder``; return the sha256 (hex) of each file by its path."""
    folder.mkdir(parents=True)
    names = [f"model-{number + 1:05}-of-{SHARDS:05}.safetensors" for number in range(SHARDS)]
    weight_map = {}
    for number, name in enumerate(names):
        tensors = [f"model.layers.{number * LAYERS_PER_SHARD + i}.weight" for i in range(LAYERS_PER_SHARD)]
        _write_safetensors(folder / name, tensors)
        weight_map.update(dict.fromkeys(tensors, name))
    index = {"metadata": {"total_size": SHARDS * SHARD_BYTES}, "weight_map": weight_map}
    vocabulary = {f"token{i}": i for i in range(32_000)}
    small = {
        "model.safetensors.index.json": index,
        "config.json": {"architectures": ["SampleForCausalLM"], "num_hidden_layers": SHARDS * LAYERS_PER_SHARD},
        "generation_config.json": {"temperature": 0.6},
        "tokenizer.json": {"version": "1.0", "model": {"type": "BPE", "vocab": vocabulary, "merges": []}},
        "tokenizer_config.json": {"model_max_length": 8192},
    }
    for name, content in small.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_safetensors(path: Path, tensors: list[str]) -> None:
    """As the safetensors format: header length (8 bytes, little endian), JSON header, then the tensors' bytes."""
    each = SHARD_BYTES // len(tensors)
    header = {
        name: {"dtype": "BF16", "shape": [each // 2 // 1024, 1024], "data_offsets": [i * each, (i + 1) * each]}
        for i, name in enumerate(tensors)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in tensors:
            file.write(os.urandom(each))
