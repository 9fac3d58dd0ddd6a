"""R19 with a real resolver: a name server that changes its mind, in a network namespace of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.name_server import play, why_no_own_network

pytestmark = pytest.mark.skipif(bool(why_no_own_network()), reason=why_no_own_network() or "namespaces can be made")

PLAY = """
from api.errors import Forbidden, SourceUnavailable
from cache.http.client import Client
from cache.http.guard import Reach
from cache.http.network import Network
from cache.http.url import parse_url
from tests.support.fake_registry import FakeRegistry
from tests.support.name_server import NameServer

names = NameServer(
    {
        "rebound": [["203.0.113.7"], ["127.0.0.1"]],
        "inner": [["127.0.0.1"]],
        "many": [[f"10.0.0.{n}" for n in range(1, 101)]],
        "mapped": [["169.254.169.254"]],
    }
)
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
    assert names.asked.count("rebound") == 2, "once for each connection"
print("played")
"""


def test_r19_a_name_server_that_changes_its_mind_gains_nothing(tmp_path: Path) -> None:
    done = play(PLAY, tmp_path, resolver="127.0.0.1")
    assert done.stdout == "played\n", done.stderr
