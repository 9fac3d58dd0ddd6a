"""The controller's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.errors import Forbidden, InvalidRequest
from api.reference import parse_reference
from controller.config import HoldLimits, Sources, load


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "controller.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(written(tmp_path, "{}"), namespace="home")
    assert (config.namespace, config.max_hold_s, config.listen_https) == ("home", 1800, "0.0.0.0:9443")


def test_kueues_own_timeout_is_known_from_the_file_alone(tmp_path: Path) -> None:
    config = load(written(tmp_path, "kueue: {wait_for_pods_ready_timeout: 10m}"), namespace="home")
    assert config.hold_limits == HoldLimits(1800, 600)
    with pytest.raises(InvalidRequest):
        load(written(tmp_path, "kueue: {wait_for_pods_ready_timeout: soon}"), namespace="home")


def test_an_option_goes_before_the_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, "namespace: file"), namespace="option").namespace == "option"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("namespaces: x", "namespaces"),
        ("sources: {host: [a]}", "host"),
        ("max_hold: soon", "soon"),
        ("listen_http: 9810", "listen_http"),
        ("listen_http: nowhere", "nowhere"),
        ("[a", "controller.yaml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        load(written(tmp_path, text), namespace="home")
    assert says in refused.value.message


def test_only_listed_sources_are_allowed() -> None:
    sources = Sources(schemes=("oci",), hosts=("r.example", "*.corp.example"))
    sources.check(parse_reference("oci://r.example/a/b:1"))
    sources.check(parse_reference("oci://deep.corp.example/a/b:1"))
    for refused in ("oci://evil.example/a:1", "oci://r.example:444/a:1", "hf://r.example/x"):
        with pytest.raises(Forbidden):
            sources.check(parse_reference(refused))


@pytest.mark.parametrize(
    ("hosts", "reach"),
    [
        (("*",), "public"),
        (("**",), "public"),
        (("*", "*.corp.example:*"), "private"),
        (("*", "r.corp.example:5000"), "anywhere"),
        (("r.corp.example*",), "private"),
    ],
)
def test_a_source_may_lie_as_far_inside_as_the_list_names_it(hosts: tuple[str, ...], reach: str) -> None:
    """A user can name any host that ``*`` lets through, but not point it at what only nodes can reach."""
    reference = parse_reference("oci://r.corp.example:5000/a/b:1")
    assert Sources(hosts=hosts).reach(reference) == reach
    assert Sources(hosts=hosts, plain_http=("r.corp.example:5000",)).reach(reference) == "anywhere"
