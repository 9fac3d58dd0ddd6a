"""A name server on loopback, and a network namespace with a resolver of its own in which to ask it. Root."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

from tests.support.command import REPOSITORY

_A, _AAAA = 1, 28


def why_no_own_network() -> str:
    """Why this machine cannot; empty where it can."""
    if os.geteuid() != 0:
        return "makes namespaces: run as root"
    missing = [tool for tool in ("unshare", "ip") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)} (apt-get install util-linux iproute2)" if missing else ""


def play(script: str, folder: Path, *, resolver: str) -> subprocess.CompletedProcess[str]:
    """Run Python where there is no network but loopback. /etc/resolv.conf is ``folder``/resolv.conf, and the script may
    change it."""
    (folder / "resolv.conf").write_text(resolver_file(resolver))
    (folder / "nsswitch.conf").write_text("hosts: dns\n")
    (folder / "play.py").write_text(script)
    bind = "; ".join(f"mount --bind {folder}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
    inside = f"ip link set lo up; {bind}; exec {sys.executable} {folder}/play.py"
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", inside],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def resolver_file(server: str) -> str:
    return f"nameserver {server}\noptions timeout:2 attempts:1\n"


class NameServer:
    """Answers for ``<name>.example`` by name: of several answers each is given once, the last one for good."""

    def __init__(self, answers: dict[str, list[list[str]]], *, address: str = "127.0.0.1") -> None:
        self.asked: list[str] = []  # names, once for each question about addresses of version 4
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            name = query[13 : 13 + query[12]].decode()
            end = query.index(b"\0", 12) + 5
            (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
            found = [ip_address(text).packed for text in self._next(name, kind)]
            head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
            records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(raw)) + raw for raw in found)
            self._socket.sendto(head + query[12:end] + records, client)

    def _next(self, name: str, kind: int) -> list[str]:
        answers = self._answers.get(name, [[]])
        if kind == _A:
            self.asked.append(name)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            return [address for address in answer if ":" not in address]
        return [address for address in answers[0] if ":" in address] if kind == _AAAA else []
