"""The agent's configuration: one loader for file and options, with errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.errors import InvalidReference, InvalidRequest
from api.keys import model_key
from daemonset.config import MAX_GROUP, load
from daemonset.pulling.desired import Desired, from_config, from_key

BROKER = {"url": "https://broker:9443", "ca_file": "/ca.crt", "token_file": "/token"}
SOURCE = "oci://registry.example.com/models/llama:v1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "root: /var/lib/warmset\n"
        "socket: /run/warmset/agent.sock\n"
        f"models:\n  - name: llama\n    source: {SOURCE}\n"
        "plain_http: ['localhost:5000']\n"
        "limits:\n  workers: 8\n"
    )
    return path


def test_a_stand_alone_file_is_read(file: Path) -> None:
    config = load(file, options={})
    assert config.root == Path("/var/lib/warmset")
    assert config.limits.workers == 8
    assert config.limits.download_bytes_per_second is None
    assert config.plain_http == {"localhost:5000"}
    assert [model.source for model in config.models] == [SOURCE]


def test_mirrors_keep_their_order(file: Path) -> None:
    listed = [
        {"host": "r.example.com", "url": "https://b"},
        {"host": "r.example.com", "url": "http://a:1", "tags": True},
    ]
    config = load(file, options={"mirrors": listed})
    assert [(mirror.url, mirror.tags) for mirror in config.mirrors] == [("https://b", False), ("http://a:1", True)]


def test_options_win_over_the_file_key_by_key(file: Path) -> None:
    config = load(file, options={"root": Path("/other"), "limits": {"pulls": 1}})
    assert config.root == Path("/other")
    assert (config.limits.pulls, config.limits.workers) == (1, 8)


def test_a_cluster_agent_needs_no_file() -> None:
    config = load(None, options={"root": "/c", "node": "node-a", "cluster": {"broker": BROKER}})
    assert config.cluster is not None
    assert config.cluster.broker.token_file == Path("/token")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rot": "/x"}, "unknown key 'rot'"),
        ({"limits": {"worker": 1}}, r"unknown key 'limits\.worker'"),
        ({"models": [{"name": "a", "source": SOURCE, "tag": "x"}]}, r"unknown key 'models\[0\]\.tag'"),
        ({"models": [{"name": "a"}]}, r"`source` - at `\$\.models\[0\]`"),
        ({"limits": {"workers": "many"}}, r"Expected `int`, got `str` - at `\$\.limits\.workers`"),
        ({"limits": {"workers": 0}}, r"'limits\.workers' must be 1 to 64"),
        ({"limits": {"download_bytes_per_second": 0}}, "leave it out for no limit"),
        ({"listen": "9810"}, "is not host:port"),
        ({"mirrors": [{"host": "r.example.com", "url": "m.example.com"}]}, "is not a URL"),
        ({"mirrors": [{"host": "r.example.com", "url": "https://m", "tag": True}]}, "unknown field `tag`"),
        ({"root": 5}, "path"),
        ({"models": [{"name": "a/b/c", "source": SOURCE}]}, "model name 'a/b/c'"),
        ({"models": [{"name": "a", "source": SOURCE}, {"name": "default/a", "source": SOURCE}]}, "listed twice"),
        ({"cluster": {"broker": BROKER}}, "NodeCache lists the models"),
        ({"models": [], "plain_http": [], "cluster": {"broker": BROKER | {"url": "http://b"}}}, "https://"),
    ],
)
def test_an_error_names_the_key(file: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        load(file, options=options)


def test_a_wrong_reference_is_refused_at_start(file: Path) -> None:
    with pytest.raises(InvalidReference):
        load(file, options={"models": [{"name": "a", "source": "registry/llama"}]})


@pytest.mark.parametrize("text", ["- a\n", "root: [\n", "", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"agent\.yaml"):
        load(path, options={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file"):
        load(tmp_path / "none.yaml", options={})


def test_a_model_without_a_namespace_is_in_default(file: Path) -> None:
    (desired,) = from_config(load(file, options={}).models)
    assert desired.model == model_key("default", "llama")


@pytest.mark.parametrize(
    "desired", [Desired(model="a" * 32, revision="sha256:" + "b" * 64), Desired(model="a" * 32, source=SOURCE)]
)
def test_a_record_key_reads_back_as_what_was_desired(desired: Desired) -> None:
    assert from_key(desired.key) == desired


@pytest.mark.parametrize("key", [SOURCE, "llama", "", "a" * 32])
def test_other_record_keys_are_nobodys(key: str) -> None:
    assert from_key(key) is None


PEERS = {"listen": "127.0.0.1:9820", "members": ["127.0.0.1:9820", "127.0.0.1:9821"], "without_security": True}


def test_a_group_on_this_machine_is_taken_when_it_says_that_it_has_no_security() -> None:
    config = load(None, options={"root": "/cache", "peers": PEERS})
    assert config.peers is not None
    assert config.peers.members == ("127.0.0.1:9820", "127.0.0.1:9821")


def test_a_group_of_several_machines_needs_a_key() -> None:
    members = ["10.0.0.7:9820", "node-8.example.com:9820"]
    secured = {"listen": members[0], "members": members, "key_file": "/etc/warmset/group.key"}
    assert load(None, options={"root": "/cache", "peers": secured}).peers is not None


def test_more_members_than_a_cohort_holds_make_a_tree_of_cohorts() -> None:
    members = [f"127.0.0.1:{port}" for port in range(9820, 9860)]
    seen = [load(None, options={"root": "/", "peers": {**PEERS, "members": members, "listen": m}}) for m in members]
    cohorts = {peers.cohort() for config in seen if (peers := config.peers) is not None}
    (first, none), (second, above) = sorted(cohorts)
    assert (none, above) == ((), first)
    assert sorted((*first, *second)) == members


def test_each_named_domain_is_a_cohort() -> None:
    domains = {f"r{n}": [f"127.0.0.1:98{n}{port}" for port in range(4)] for n in (1, 2)}
    peers = {"domains": domains, "listen": domains["r2"][0], "without_security": True}
    config = load(None, options={"root": "/cache", "peers": peers})
    assert config.peers is not None
    assert config.peers.cohort() == (tuple(domains["r2"]), tuple(domains["r1"]))
    assert config.peers.members == (*domains["r1"], *domains["r2"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"without_security": False},
        {"key_file": "/etc/warmset/group.key"},
        {"members": ["127.0.0.1:9820", "10.0.0.7:9820"]},
        {"members": ["127.0.0.1:9820", "localhost.example.com:9820"]},
        {"members": ["127.0.0.1:9821"]},
        {"members": [f"127.0.0.1:{port}" for port in range(9820, 9820 + MAX_GROUP + 1)]},
        {"domains": {"r1": ["127.0.0.1:9820"]}},
        {"members": ["127.0.0.1:9820", "127.0.0.1"]},
    ],
)
def test_a_group_that_others_could_reach_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        load(None, options={"root": "/cache", "peers": {**PEERS, **wrong}})
