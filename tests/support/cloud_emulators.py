"""Emulators of Azure's and Google's object stores on loopback: azurite and fake-gcs-server, run as programs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.request
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from tests.support.processes import Server, find_binary, free_port, port_open

HOW_TO_GET = {
    "azurite-blob": 'azurite-blob not found: export PATH="$(.ci/azurite/build):$PATH"',
    "fake-gcs-server": 'fake-gcs-server not found: export PATH="$(.ci/fake-gcs-server/build):$PATH"',
}
# Published with every emulator of Azure's, the same for all.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Azurite:
    host: str
    server: Server

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}/{ACCOUNT}"

    def make_container(self, name: str) -> None:
        self._put(name, query="restype:container")

    def put(self, container: str, path: str, content: bytes) -> None:
        self._put(f"{container}/{path}", content, blob="BlockBlob")

    def _put(self, path: str, content: bytes = b"", *, query: str = "", blob: str = "") -> None:
        """Signed as "Authorize with Shared Key" of Azure's REST reference says."""
        kind = "application/octet-stream"
        headers = {"x-ms-blob-type": blob} if blob else {}
        headers |= {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        canonical = "".join(f"{name}:{value}\n" for name, value in headers.items())
        resource = f"/{ACCOUNT}/{ACCOUNT}/{path}" + (f"\n{query}" if query else "")
        text = f"PUT\n\n\n{len(content) or ''}\n\n{kind}\n\n\n\n\n\n\n{canonical}{resource}"
        key = base64.b64decode(ACCOUNT_KEY)
        signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Type": kind}
        address = f"{self.endpoint}/{path}" + (f"?{query.replace(':', '=')}" if query else "")
        _send(urllib.request.Request(address, data=content, headers=headers, method="PUT"))


@dataclass(frozen=True)
class FakeGcs:
    host: str
    server: Server

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    def make_bucket(self, name: str) -> None:
        self._post("storage/v1/b", json.dumps({"name": name}).encode(), kind="application/json")

    def put(self, bucket: str, path: str, content: bytes) -> None:
        self._post(f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={path}", content)

    def _post(self, target: str, content: bytes, *, kind: str = "application/octet-stream") -> None:
        _send(urllib.request.Request(f"{self.endpoint}/{target}", data=content, headers={"Content-Type": kind}))


def start_azurite(folder: Path) -> Azurite:
    port = free_port()
    quiet = ("--silent", "--disableTelemetry", "--inMemoryPersistence")
    listen = ("--blobHost", "127.0.0.1", "--blobPort", str(port))
    return Azurite(f"127.0.0.1:{port}", _start("azurite-blob", *quiet, *listen, port=port, folder=folder))


def start_fake_gcs(folder: Path) -> FakeGcs:
    port = free_port()
    host = f"127.0.0.1:{port}"
    listen = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", host)
    return FakeGcs(host, _start("fake-gcs-server", "-backend", "memory", *listen, port=port, folder=folder))


def _start(program: str, *arguments: str, port: int, folder: Path) -> Server:
    binary = find_binary(program)
    if binary is None:
        raise RuntimeError(HOW_TO_GET[program])
    server = Server([binary, *arguments], log=folder / f"{program}.log")
    server.wait_until(lambda: port_open(port), what=program, within_s=120.0)
    return server


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
