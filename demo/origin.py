"""An OCI registry of limited speed for the demo: a push and pull API over one folder, with no authentication.

Runs as a process of its own: python -m demo.origin FOLDER PORT BYTES_PER_SECOND [HOST]
The limit holds over all connections together, as a registry's uplink does; 0 is no limit. GET /stats tells what left
it. POST /hold lets everybody wait for manifests until POST /release, so that a benchmark can begin when all are there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
import uuid
from pathlib import Path

from aiohttp import web

PIECE = 256 << 10  # bytes sent between two looks at the limit
DIGEST = r"sha256:[0-9a-f]{64}"


class Uplink:
    """A token bucket without burst: each sender waits for the moment from which its bytes may leave."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + size / self._rate
        await asyncio.sleep(self._free_at - now)


class Origin:
    def __init__(self, folder: Path, uplink: Uplink) -> None:
        self._folder = folder
        self._uplink = uplink
        self._manifests: dict[str, tuple[str, bytes]] = {}  # tag or digest -> media type, body
        self._sent = 0
        self._newest = ""  # digest of the last manifest that was pushed
        self._open = asyncio.Event()
        self._open.set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 << 20)
        name = r"/v2/{name:[a-z0-9/._-]+?}"
        app.add_routes(
            [
                web.get("/v2/", self.version),
                web.get("/stats", self.stats),
                web.post("/hold", self.hold),
                web.post("/release", self.release),
                web.post(name + "/blobs/uploads/", self.start_upload),
                web.patch(r"/uploads/{id:[0-9a-f]+}", self.upload),
                web.put(r"/uploads/{id:[0-9a-f]+}", self.finish_upload),
                web.get(name + rf"/blobs/{{digest:{DIGEST}}}", self.blob),
                web.put(name + r"/manifests/{reference}", self.put_manifest),
                web.get(name + r"/manifests/{reference}", self.manifest),
            ]
        )
        return app

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def stats(self, _: web.Request) -> web.Response:
        return web.json_response({"bytes_sent": self._sent, "manifest": self._newest})

    async def hold(self, _: web.Request) -> web.Response:
        self._open.clear()
        return web.Response(status=204)

    async def release(self, _: web.Request) -> web.Response:
        self._open.set()
        return web.Response(status=204)

    async def start_upload(self, _: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Location": f"/uploads/{uuid.uuid4().hex}"})

    async def upload(self, request: web.Request) -> web.Response:
        path = self._folder / f"upload-{request.match_info['id']}"
        with path.open("ab") as file:
            async for data in request.content.iter_chunked(1 << 20):
                file.write(data)
            end = file.tell()
        return web.Response(status=202, headers={"Location": request.path, "Range": f"0-{end - 1}"})

    async def finish_upload(self, request: web.Request) -> web.Response:
        await self.upload(request)
        path = self._folder / f"upload-{request.match_info['id']}"
        digest = request.query["digest"]
        with path.open("rb") as file:
            actual = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
        if digest != f"sha256:{actual.hexdigest()}":
            path.unlink()
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        path.rename(self._folder / digest)
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        path = self._folder / request.match_info["digest"]
        if not path.exists():
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
        size = path.stat().st_size
        start, end = _range(request.headers.get("Range", ""), size)
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200)
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response.content_length = end - start
        await response.prepare(request)
        if request.method == "GET":
            await self._send(response, path, start, end)
        return response

    async def _send(self, response: web.StreamResponse, path: Path, start: int, end: int) -> None:
        with path.open("rb") as file:
            while start < end:
                data = os.pread(file.fileno(), min(PIECE, end - start), start)
                await self._uplink.take(len(data))
                await response.write(data)
                start += len(data)
                self._sent += len(data)

    async def put_manifest(self, request: web.Request) -> web.Response:
        body = await request.read()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        entry = (request.headers["Content-Type"], body)
        self._manifests[digest] = self._manifests[request.match_info["reference"]] = entry
        self._newest = digest
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    async def manifest(self, request: web.Request) -> web.Response:
        await self._open.wait()
        entry = self._manifests.get(request.match_info["reference"])
        if entry is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        media_type, body = entry
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return web.Response(body=body, content_type=media_type, headers={"Docker-Content-Digest": digest})


def _range(header: str, size: int) -> tuple[int, int]:
    """``bytes=a-b`` as start and end (exclusive); the whole blob without one."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header)
    if not match:
        return 0, size
    return int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)


def main() -> None:
    folder, port, rate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    host = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1"
    folder.mkdir(parents=True, exist_ok=True)
    web.run_app(Origin(folder, Uplink(rate)).app(), host=host, port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
