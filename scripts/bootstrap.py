"""Make .venv and install the locked dependencies and Warmset itself (editable) into it.

Needs nothing but Python 3.11 and a package index. Debian's python3 comes without ensurepip, and perhaps
without pip: then the environment is made bare and pip's wheel, which runs as it is, is taken from the index.
Does nothing when the environment already matches the lock file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".warmset-lock"
LOCK = ROOT / "requirements" / "dev.txt"
UV = "uv==0.13.9"
DEFAULT_INDEX = "https://pypi.org/simple"  # pip's own default, used only where there is no pip to ask


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (it runs before anything enforces requires-python)
        sys.exit(f"Warmset needs Python 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable})")
    wanted = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists():
        return
    print("setting up .venv (once a change of the locked dependencies)", flush=True)
    uv = [str(VENV / "bin" / "uv"), "pip"]
    if not works([*uv, "--version"]) or not works([str(PYTHON), "--version"]):
        make_environment()
    target = ["--quiet", "--python", str(PYTHON)]
    run([*uv, "sync", *target, "--require-hashes", str(LOCK)])
    run([*uv, "install", *target, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    STAMP.write_text(wanted)


def make_environment() -> None:
    """An environment at .venv that has uv, made by whichever way this Python knows."""
    if works([sys.executable, "-m", "venv", "--clear", str(VENV)]):
        run([str(PYTHON), "-m", "pip", "install", "--quiet", UV])
        return
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)])
    if works([sys.executable, "-m", "pip", "--version"]):
        run([sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", UV])
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_pip(Path(folder))
        run([str(PYTHON), f"{wheel}/pip", "install", "--quiet", UV])


def download_pip(folder: Path) -> Path:
    """Fetch pip's newest wheel by the simple JSON API (PEP 691), checked against the index's sha256."""
    index = os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_INDEX_URL") or DEFAULT_INDEX
    page = index.rstrip("/") + "/pip/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [f for f in files if f["filename"].endswith("-py3-none-any.whl") and not f.get("yanked")]
    newest = max((w for w in wheels if version(w["filename"])), key=lambda w: version(w["filename"]))
    with urllib.request.urlopen(urljoin(page, newest["url"]), timeout=180) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != newest["hashes"]["sha256"]:
        sys.exit(f"{newest['filename']} from {index} does not match its sha256; try again or check the mirror")
    wheel = folder / newest["filename"]
    wheel.write_bytes(data)
    return wheel


def version(filename: str) -> tuple[int, ...]:
    """A wheel's release number; empty for pre-releases."""
    parts = filename.split("-")[1].split(".")
    return tuple(int(p) for p in parts) if all(p.isdigit() for p in parts) else ()


def works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def run(command: list[str]) -> None:
    if subprocess.run(command).returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
