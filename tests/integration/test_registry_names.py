"""N08 with a real resolver: no name server, one that comes later or elsewhere, and a network of IPv6 alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.name_server import play, why_no_own_network

pytestmark = pytest.mark.skipif(bool(why_no_own_network()), reason=why_no_own_network() or "namespaces can be made")

BEGIN = """
import subprocess, sys, tempfile
from pathlib import Path
from api.errors import SourceUnavailable
from api.reference import parse_reference
from cache.http.retry import RetryPolicy
from cache.pull import pull
from cache.sources import SourceOptions
from cache.store import Store
from tests.support.fake_registry import FakeRegistry
from tests.support.name_server import NameServer, resolver_file

FILES = {"config.json": b"{}", "model.safetensors": bytes(3 << 20)}
RetryPolicy.wait_s = lambda *_, **__: 0.0


def bring(registry, host):
    registry.add_model("m/tiny", "v1", FILES)
    port = registry.host.rpartition(":")[2]
    options = SourceOptions(plain_http=frozenset({f"{host}:{port}"}))
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "cache") as store:
        tree = pull(store, parse_reference(f"oci://{host}:{port}/m/tiny:v1"), options=options).path
        return {path.name: path.read_bytes() for path in tree.iterdir()}


def why_not(registry, host):
    try:
        bring(registry, host)
    except SourceUnavailable as error:
        return error.message
"""

COMES_BACK = """
with FakeRegistry() as registry:
    assert "registry.example" in why_not(registry, "registry.example"), "nobody answers at the resolver's address"
    Path("/etc/resolv.conf").write_text(resolver_file("127.0.0.2"))
    NameServer({"registry": [["127.0.0.1"]], "gone": [[]]}, address="127.0.0.2")
    assert bring(registry, "registry.example") == FILES, "the process has read the resolver's new file"
    assert "gone.example" in why_not(registry, "gone.example"), "a name without an address"
print("played")
"""

IPV6_ALONE = """
subprocess.run(["ip", "addr", "del", "127.0.0.1/8", "dev", "lo"], check=True)
NameServer({"registry": [["::1"]]}, address="::1")
with FakeRegistry(address="::1") as registry:
    assert bring(registry, "registry.example") == FILES
    assert bring(registry, "[::1]") == FILES
print("played")
"""


def test_without_names_a_pull_says_which_and_goes_on_with_the_next_resolver(tmp_path: Path) -> None:
    done = play(BEGIN + COMES_BACK, tmp_path, resolver="127.0.0.1")
    assert done.stdout == "played\n", done.stderr


def test_a_network_of_ipv6_alone_is_enough(tmp_path: Path) -> None:
    done = play(BEGIN + IPV6_ALONE, tmp_path, resolver="::1")
    assert done.stdout == "played\n", done.stderr
