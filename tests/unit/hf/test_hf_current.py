"""Where a branch is now takes one request and no import of the Hub's library."""

from __future__ import annotations

import subprocess
import sys

import pytest

from api.reference import UrlReference, parse_reference
from cache.sources import SourceOptions
from cache.sources.hf.current import current_commit
from tests.support.fake_hub import FakeHub, Fault

NAME = "org/tiny"
OPTIONS = SourceOptions(ambient=True)


def reference(revision: str = "") -> UrlReference:
    parsed = parse_reference(f"hf://{NAME}@{revision}" if revision else f"hf://{NAME}")
    assert isinstance(parsed, UrlReference)
    return parsed


def test_a_branch_is_at_a_commit(hub: FakeHub) -> None:
    first = hub.add(NAME, {"a": b"1"}, revision="refs/pr/1")
    second = hub.add(NAME, {"a": b"2"})
    assert current_commit(reference(), options=OPTIONS) == second
    assert current_commit(reference("refs/pr/1"), options=OPTIONS) == first
    assert len(hub.seen) == 2


def test_a_token_opens_a_private_repository(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add(NAME, {"a": b"1"})
    hub.repos[NAME].private = True
    hub.tokens.add("hf_mine")
    assert current_commit(reference(), options=OPTIONS) is None
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert current_commit(reference(), options=OPTIONS) == commit


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no", b'{"sha": "main"}', b'{"sha": 1}'])
def test_an_answer_that_names_no_commit_is_none(hub: FakeHub, body: bytes) -> None:
    hub.faults.append(Fault(path="/api/", status=200, body=body))
    assert current_commit(reference(), options=OPTIONS) is None


def test_offline_it_does_not_ask(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, {"a": b"1"})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert current_commit(reference(), options=OPTIONS) is None
    assert hub.seen == []


def test_the_library_is_not_imported(hub: FakeHub) -> None:
    hub.add(NAME, {"a": b"1"})
    script = (
        "import sys\nfrom api.reference import parse_reference\nfrom cache.sources import SourceOptions\n"
        "from cache.sources.current import current\n"
        f"print(current(parse_reference('hf://{NAME}'), options=SourceOptions(ambient=True)))\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(f"hf://{NAME}@")
    assert "huggingface_hub" not in done.stdout.split()
