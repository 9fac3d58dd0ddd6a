"""A real S3-compatible server on loopback: moto's, run as a program of its own."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Server, find_binary, free_port, port_open

HOW_TO_GET = "moto_server not found: put the folder that .ci/moto/build prints on PATH"


@dataclass(frozen=True)
class S3Server:
    """``endpoint`` goes into AWS_ENDPOINT_URL."""

    endpoint: str
    server: Server

    def call(self, method: str, path: str, body: bytes = b"") -> None:
        """One unsigned request: moto believes everybody, unless told otherwise."""
        # By a form's type, which is urllib's default, moto would take it for a call of another service.
        headers = {"Content-Type": "application/xml"} if body else {}
        request = urllib.request.Request(f"{self.endpoint}{path}", data=body or None, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def stop(self) -> None:
        self.server.stop(grace_s=2.0)


def s3_server_missing() -> bool:
    return find_binary("moto_server") is None


def start_s3_server(folder: Path) -> S3Server:
    binary = find_binary("moto_server")
    if binary is None:
        raise RuntimeError(HOW_TO_GET)
    port = free_port()
    server = Server([binary, "-H", "127.0.0.1", "-p", str(port)], log=folder / "moto.log")
    server.wait_until(lambda: port_open(port), what="moto_server", within_s=60.0)
    return S3Server(f"http://127.0.0.1:{port}", server)
