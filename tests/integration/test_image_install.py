"""The image's build steps, run as they stand in deploy/Dockerfile but without a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for / in the image. Takes the packages from pip's own index, or its cache."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("needs uv beside this Python: run `make setup`")
    base = tmp_path_factory.mktemp("base")
    subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, base / "python"], check=True)
    source, root = base / "src", base / "image"
    for pattern in kept_by_dockerignore():
        for path in ROOT.glob(pattern):
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, target)
    environment = {**os.environ, "PATH": f"{base / 'python' / 'bin'}:{os.environ['PATH']}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the image's build has no such thing
    for command in re.findall(r"^RUN (.+)$", DOCKERFILE, re.MULTILINE):
        # The cache makes the test fast; the image leaves it out to stay small.
        here = command.replace("/opt/", f"{root}/opt/").replace("--no-cache-dir ", "")
        done = subprocess.run(
            here, shell=True, cwd=source, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return root


def kept_by_dockerignore() -> list[str]:
    return re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)


def run(image: Path, *command: str) -> str:
    done = subprocess.run(
        [image / "opt/warmset/bin" / command[0], *command[1:]], cwd="/", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_of_the_chart_starts(image: Path) -> None:
    for name in ("agent", "csi", "controller"):
        assert "Usage:" in run(image, "warmset", name, "--help")


def test_it_imports_its_packages_from_the_image(image: Path) -> None:
    code = "import api, cache, cli, controller, csi, daemonset, kube; print(api.__file__)"
    assert run(image, "python", "-c", code).startswith(str(image))


def test_it_has_no_installer_and_no_build_or_test_tool(image: Path) -> None:
    code = "import importlib.metadata as m; print(sorted(d.name.lower() for d in m.distributions()))"
    names = yaml.safe_load(run(image, "python", "-c", code))
    assert "warmset" in names
    assert not {"pip", "uv", "hatchling", "pytest", "mypy"} & set(names)


def test_both_stages_have_the_same_pinned_base() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["${BASE}", "${BASE}"]
    (default,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", default)


def test_all_is_compiled_by_hash_so_that_a_second_build_makes_the_same(image: Path) -> None:
    """PEP 552: flags 0b01 say that the file names its source by hash and that nobody looks at the time."""
    packages = next((image / "opt/warmset/lib").glob("python*/site-packages"))
    compiled = list(packages.rglob("*.pyc"))
    assert {path.name.split(".")[0] for path in compiled} >= {path.stem for path in packages.glob("cli/**/*.py")}
    assert [path for path in compiled if int.from_bytes(path.read_bytes()[4:8], "little") != 1] == []


def test_the_image_runs_as_the_charts_user() -> None:
    helpers = (ROOT / "deploy" / "chart" / "templates" / "_helpers.tpl").read_text()
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert f"\n{user}\n" in helpers
