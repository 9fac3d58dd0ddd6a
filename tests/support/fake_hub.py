"""A Hugging Face Hub on loopback that misbehaves on request, with its CDN on another origin.

It speaks what huggingface_hub 2.4 and Warmset ask: model info, tree listing, and resolve, which sends a file of LFS to
the CDN under a signed address and gives the small rest itself. Faults are those of the fake registry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.fake_registry import Fault, Seen

Content = bytes | Path  # a path is sent without passing through Python: for benchmarks


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class HubFile:
    """``sha256`` is set for a file of LFS. What the Hub says of it may be made a lie by giving other ``content``."""

    content: Content
    size: int
    blob_id: str
    sha256: str = ""

    @classmethod
    def of(cls, content: Content, *, lfs: bool) -> HubFile:
        if isinstance(content, bytes) and not lfs:
            return cls(content, len(content), git_sha1(content))
        if isinstance(content, Path):
            with content.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = content.stat().st_size
        else:
            sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(content, size, git_sha1(pointer.encode()), sha256)


@dataclass
class Repo:
    """``commits`` by revision name and by themselves; ``files`` by commit."""

    revisions: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, HubFile]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False


class FakeHub:
    """Use as a context manager. ``endpoint`` goes into HF_ENDPOINT; ``tokens`` open private and gated repositories."""

    def __init__(self) -> None:
        self._hub, self._cdn = _Server(self, _HubHandler), _Server(self, _CdnHandler)
        self.host = f"127.0.0.1:{self._hub.server_address[1]}"
        self.cdn_host = f"127.0.0.1:{self._cdn.server_address[1]}"  # another port is another origin
        self.endpoint = f"http://{self.host}"
        self.repos: dict[str, Repo] = {}
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []  # of both servers: the CDN's paths begin with /cdn/
        self.lock = threading.Lock()
        self.released = threading.Event()

    def __enter__(self) -> FakeHub:
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in (self._hub, self._cdn)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.released.set()
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def add(self, name: str, files: Mapping[str, Content], *, revision: str = "main", lfs_over: int = 1000) -> str:
        """Commit files to a revision; those of more than ``lfs_over`` bytes go to LFS. Returns the commit."""
        made = {
            path: HubFile.of(content, lfs=isinstance(content, Path) or len(content) > lfs_over)
            for path, content in files.items()
        }
        return self.commit(name, made, revision=revision)

    def commit(self, name: str, files: Mapping[str, HubFile], *, revision: str = "main") -> str:
        repo = self.repos.setdefault(name, Repo())
        said = json.dumps([[path, file.blob_id] for path, file in sorted(files.items())])
        commit = hashlib.sha1(f"{name} {said}".encode(), usedforsecurity=False).hexdigest()
        repo.files[commit] = dict(files)
        repo.revisions[revision] = repo.revisions[commit] = commit
        return commit

    def requests(self, path: str = "") -> list[Seen]:
        with self.lock:
            return [seen for seen in self.seen if path in seen.path]

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.path in path and fault.method == method:
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20
    server: _Server

    def do_GET(self) -> None:
        hub = self.server.hub
        self.seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        with hub.lock:
            hub.seen.append(self.seen)
        fault = hub.take_fault(self.command, self.path)
        if fault is not None and fault.status is not None:
            self.send(fault.status, {k: v for k, v in fault.headers.items() if v is not None}, fault.body)
        else:
            self.answer(fault)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Silent: tests look at ``seen``."""

    def answer(self, fault: Fault | None) -> None:
        raise NotImplementedError

    def json(self, document: object) -> None:
        self.send(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def file(self, file: HubFile, headers: Mapping[str, str], fault: Fault | None) -> None:
        content = file.content
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if fault is not None and fault.flip is not None and isinstance(content, bytes):
            content = content[: fault.flip] + bytes([content[fault.flip] ^ 1]) + content[fault.flip + 1 :]
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        if asked is None or (fault is not None and fault.ignore_range):
            return self.send(200, headers, content, fault)
        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        ranged = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        return self.send(206, ranged, content, fault, start=first, stop=last + 1)

    def send(
        self,
        status: int,
        headers: Mapping[str, str],
        content: Content = b"",
        fault: Fault | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        if stop is None:
            stop = content.stat().st_size if isinstance(content, Path) else len(content)
        sent: dict[str, str | None] = {
            "Content-Length": str(stop - start),
            **headers,
            **(fault.headers if fault else {}),
        }
        self.seen.status = status
        self.send_response(status)
        for name, value in sent.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = stop if fault is None or fault.cut_after is None else min(start + fault.cut_after, stop)
        self.seen.sent += end - start  # before the client can have it, so that a test never counts too little
        with contextlib.suppress(OSError):
            if isinstance(content, Path):
                with content.open("rb") as file:
                    self.connection.sendfile(file, offset=start, count=end - start)
            else:
                self.wfile.write(content[start:end])
        if fault is not None and fault.stall:
            self.server.hub.released.wait(20)
        if end < stop:
            self.close_connection = True
            if fault is not None and fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                self.connection.close() if fault is not None and fault.reset else self.connection.shutdown(2)


class _HubHandler(_Handler):
    def answer(self, fault: Fault | None) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+?))?/?", path)
        if match is None:
            match = re.fullmatch(r"/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)", path)
        if match is None:
            return self._refuse(404, "EntryNotFound", "no such page")
        name, kind, revision = match[1], match[2], match[3] or "main"
        repo = hub.repos.get(name)
        known = self.headers.get("Authorization", "").removeprefix("Bearer ") in hub.tokens
        if repo is None or (repo.private and not known):
            # As the real one: without a token it does not say whether the repository is missing or private.
            return self._refuse(404 if known else 401, "RepoNotFound", "Repository not found")
        if repo.gated and not known and kind == "resolve":
            return self._refuse(401, "GatedRepo", "Access to this model is restricted")
        commit = repo.revisions.get(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.files[commit]
        if kind == "tree":
            return self.json([{"type": "file", **_listed(p, f)} for p, f in files.items()])
        if kind != "resolve":
            siblings = [_sibling(path, file) for path, file in files.items()]
            return self.json(
                {"id": name, "modelId": name, "sha": commit, "private": repo.private, "siblings": siblings}
            )
        if (found := files.get(match[4])) is None:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{found.blob_id}"', "Accept-Ranges": "bytes"}
        if not found.sha256:
            return self.file(found, headers, fault)
        location = f"http://{hub.cdn_host}/cdn/{commit}/{match[4]}?Signature=secret"
        linked = {"X-Linked-Etag": f'"{found.sha256}"', "X-Linked-Size": str(found.size), "Location": location}
        return self.send(302, {**headers, **linked})

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send(status, {"X-Error-Code": code, "X-Error-Message": message}, json.dumps({"error": message}).encode())


class _CdnHandler(_Handler):
    def answer(self, fault: Fault | None) -> None:
        match = re.fullmatch(r"/cdn/([0-9a-f]{40})/(.+)", unquote(urlsplit(self.path).path))
        for repo in self.server.hub.repos.values():
            if match is not None and (file := repo.files.get(match[1], {}).get(match[2])) is not None:
                return self.file(file, {"ETag": '"of-the-cdn"', "Accept-Ranges": "bytes"}, fault)
        return self.send(403, {}, b"expired")


def _sibling(path: str, file: HubFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path, "size": file.size, "blobId": file.blob_id}
    if file.sha256:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 130}
    return entry


def _listed(path: str, file: HubFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": path, "size": file.size, "oid": file.blob_id}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
    return entry
