"""Servers that tests start on loopback: found, started on a free port, waited for, and stopped by id."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def find_binary(name: str) -> Path | None:
    """As envtest does: the folder that KUBEBUILDER_ASSETS names, then PATH."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (found := Path(assets) / name).exists():
        return found
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def free_port() -> int:
    """One that nothing listens on. Below those that Linux gives to outgoing connections (ip_local_port_range): one of
    them could have it before the server does that it is meant for."""
    while True:
        port = 15_000 + secrets.randbelow(15_000)  # hypothesis seeds what `random` draws, alike in every process
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One child process whose output goes to a file; ``stop`` ends just that process."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )

    def wait_until(self, ready: Callable[[], bool], *, what: str, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while not ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{what} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{what} was not ready within {within_s:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, *, grace_s: float = 10.0) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def warmset(*arguments: str, log: Path, env: dict[str, str] | None = None) -> Server:
    """A `warmset` command that runs until it is stopped."""
    return Server([sys.executable, "-m", "cli.main", *arguments], log=log, env={"PYTHONPATH": str(ROOT), **(env or {})})


def port_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True
