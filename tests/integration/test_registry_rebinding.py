"""R19 with a real resolver: a name server that changes its mind, in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="makes namespaces: run as root, with util-linux and iproute2",
)

PLAY = """
import socket, struct, threading
from api.errors import Forbidden, SourceUnavailable
from cache.http.client import Client
from cache.http.guard import Reach
from cache.http.network import Network
from cache.http.url import parse_url
from tests.support.fake_registry import FakeRegistry

ANSWERS = {
    "rebound": [["203.0.113.7"], ["127.0.0.1"]],
    "inner": [["127.0.0.1"]],
    "many": [[f"10.0.0.{n}" for n in range(1, 101)]],
    "mapped": [["169.254.169.254"]],
}
asked = []


def serve(server):
    while True:
        query, client = server.recvfrom(4096)
        name = query[13 : 13 + query[12]].decode()
        end = query.index(b"\\0", 12) + 5
        kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
        found = []
        if kind == 1:
            asked.append(name)
            answers = ANSWERS[name]
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        head = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
        records = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(a) for a in found)
        server.sendto(head + query[12:end] + records, client)


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
threading.Thread(target=serve, args=(server,), daemon=True).start()
network = Network(connect_timeout_s=2, stall_s=2)


def get(name, reach):
    client = Client(network, reach=reach)
    try:
        response = client.request("GET", parse_url(f"http://{name}.example:{port}/v2/"))
        response.close()
        return response.status
    except (Forbidden, SourceUnavailable) as error:
        return error.reason
    finally:
        client.close()


with FakeRegistry() as registry:
    port = registry.host.partition(":")[2]
    assert get("inner", Reach.LOCAL) == 404, "the name server works, and whoever names the host may have it"
    registry.seen.clear()
    assert get("inner", Reach.PRIVATE) == "Forbidden"
    assert get("rebound", Reach.PRIVATE) == "SourceUnavailable", "a public address that leads nowhere here"
    assert get("rebound", Reach.PRIVATE) == "Forbidden", "and then this machine"
    assert get("many", Reach.PUBLIC) == "Forbidden"
    assert get("many", Reach.PRIVATE) == "SourceUnavailable"
    assert get("mapped", Reach.PRIVATE) == "Forbidden"
    assert registry.seen == []
    assert asked.count("rebound") == 2, "once for each connection"
print("played")
"""


def test_r19_a_name_server_that_changes_its_mind_gains_nothing(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    (tmp_path / "play.py").write_text(PLAY)
    bind = "; ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-ec",
            f"ip link set lo up; {bind}; exec {sys.executable} {tmp_path}/play.py",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "played\n", done.stderr
