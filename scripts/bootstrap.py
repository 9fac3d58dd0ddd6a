"""Make .venv and install the locked dependencies and Warmset itself (editable) into it.

Needs nothing but Python 3.11 and a package index. Debian's python3 comes without ensurepip, and perhaps
without pip: then the environment is made bare, and pip's wheel, which runs as it is, comes from Debian's package.
Does nothing when the environment already matches the lock file.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".warmset-lock"
LOCK = ROOT / "requirements" / "dev.txt"
UV = "uv==0.13.9"


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
        wheel = debian_pip(Path(folder))
        run([str(PYTHON), f"{wheel}/pip", "install", "--quiet", UV])


def debian_pip(folder: Path) -> Path:
    """pip's wheel out of Debian's package, unpacked in ``folder`` and not installed."""
    fetch = ["sh", "-c", f"cd '{folder}' && apt-get download -qq python3-pip-whl"]
    # A fresh image has no package lists yet.
    if not works(fetch) and not (works(["apt-get", "update", "-qq"]) and works(fetch)):
        sys.exit(
            f"{sys.executable} has neither ensurepip nor pip; install one of them"
            " (Debian: apt-get install python3-venv) and run this again"
        )
    run(["sh", "-c", f"dpkg-deb -x '{folder}'/python3-pip-whl_*.deb '{folder}'"])
    return next((folder / "usr/share/python-wheels").glob("pip-*.whl"))


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
