"""A pull of what is here already is answered without click and the store, in the same words; all else is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.digest import Digest
from cache.store import Store
from cli.main import warmset
from cli.present import answer, parse
from tests.support.fake_registry import FakeRegistry, Fault


@pytest.fixture
def asked(registry: FakeRegistry) -> list[str]:
    """The arguments of a pull that was done before."""
    arguments = ["--plain-http", f"oci://{registry.host}/m/tiny:v1"]
    done = CliRunner().invoke(warmset, ["pull", *arguments])
    assert done.exit_code == 0, done.output
    registry.seen.clear()
    return arguments


def pinned(asked: list[str], registry: FakeRegistry) -> list[str]:
    digest = next(name for repository, name in registry.manifests if name.startswith("sha256:"))
    return [*asked[:-1], f"{asked[-1].removesuffix(':v1')}@{digest}"]


def without_seconds(text: str) -> list[str]:
    return [line for line in text.splitlines() if "seconds" not in line and "from the source" not in line]


def test_a_tag_costs_one_question_and_no_bytes(registry: FakeRegistry, asked: list[str]) -> None:
    assert answer(asked)
    assert [(seen.method, seen.path) for seen in registry.seen] == [("HEAD", "/v2/m/tiny/manifests/v1")]


def test_a_digest_costs_no_question(registry: FakeRegistry, asked: list[str]) -> None:
    arguments = pinned(asked, registry)
    assert CliRunner().invoke(warmset, ["pull", *arguments]).exit_code == 0
    registry.seen.clear()
    assert answer(arguments)
    assert registry.seen == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_both_ways_say_the_same(asked: list[str], form: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*asked, "-o", form]
    by_click = CliRunner().invoke(warmset, ["pull", *arguments])
    capsys.readouterr()
    assert answer(arguments)
    told = capsys.readouterr()
    assert without_seconds(told.out) == without_seconds(by_click.stdout)
    assert told.err.rpartition(" in ")[0] == by_click.stderr.rpartition(" in ")[0]


def test_it_is_answered_while_another_process_owns_the_store(asked: list[str], own_store: Path) -> None:
    with Store.open(own_store):
        assert answer(asked)


def test_the_model_counts_as_used(asked: list[str], own_store: Path) -> None:
    with Store.open(own_store) as store:
        (tree,) = store.trees()
        before = store.last_used(tree)
    assert answer(asked)
    with Store.open(own_store) as store:
        assert (store.last_used(tree) or 0) > (before or 0)


def test_a_folder_that_holds_the_model_is_answered_and_any_other_is_not(asked: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not answer([*asked, str(out)])
    assert CliRunner().invoke(warmset, ["pull", *asked, str(out)]).exit_code == 0
    assert answer([*asked, str(out)])
    (out / "config.json").unlink()
    assert not answer([*asked, str(out)])


def test_where_mirrors_may_be_set_a_pull_asks_them(
    registry: FakeRegistry, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("mirrors: []\n")
    monkeypatch.setenv("WARMSET_CONFIG", str(tmp_path / "config.yaml"))
    assert not answer(asked)
    assert registry.seen == []


def test_a_moved_tag_is_for_a_pull(registry: FakeRegistry, asked: list[str]) -> None:
    registry.add_model("m/tiny", "v1", {"config.json": b"{ }"})
    assert not answer(asked)


def test_a_damaged_tree_is_for_a_pull(asked: list[str], own_store: Path) -> None:
    with Store.open(own_store) as store:
        store.drop_blob(Digest("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"))
    assert not answer(asked)


def test_a_registry_that_is_gone_is_for_a_pull_to_explain(registry: FakeRegistry, asked: list[str]) -> None:
    registry.faults.append(Fault(path="/manifests/", method="HEAD", status=503))
    assert not answer(asked)


def test_a_registry_that_does_not_say_the_digest_is_asked_for_the_manifest(
    registry: FakeRegistry, asked: list[str]
) -> None:
    registry.faults.append(Fault(path="/manifests/", method="HEAD", headers={"Docker-Content-Digest": None}))
    assert not answer(asked)


def test_what_was_never_pulled_is_not_asked_for(registry: FakeRegistry, asked: list[str]) -> None:
    assert not answer([*asked, "--include", "*.json"])
    assert registry.seen == []


def test_a_format_that_runs_code_needs_its_word_each_time(registry: FakeRegistry, own_store: Path) -> None:
    registry.add_model("m/code", "v1", {"model.bin": b"x"})
    arguments = ["--plain-http", f"oci://{registry.host}/m/code:v1"]
    assert CliRunner().invoke(warmset, ["pull", "--allow-executable", *arguments]).exit_code == 0
    assert answer(["--allow-executable", *arguments])
    assert not answer(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("oci://h/m:v1", "--workers", "8"),
        ("oci://h/m:v1", "--layout", "flat"),
        ("oci://h/m:v1", "-o", "yaml"),
        ("oci://h/m:v1", "--root"),
        ("oci://h/m:v1", "out", "more"),
        ("oci://h/m:v1", "-ojson"),
    ],
)
def test_what_is_not_plain_is_left_to_click(arguments: tuple[str, ...]) -> None:
    assert parse(arguments) is None


def test_options_are_read_as_click_reads_them() -> None:
    assert parse(("--root=/a", "oci://h/m:v1", "--root", "/b", "--include", "-x", "out", "-o", "json")) == (
        ["oci://h/m:v1", "out"],
        {"--root": ["/a", "/b"], "--include": ["-x"], "--output": ["json"]},
    )


def test_it_imports_neither_click_nor_the_store(asked: list[str]) -> None:
    script = f"import sys, cli.present\nassert cli.present.answer({asked!r})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"click", "msgspec", "ssl", "tempfile", "asyncio", "cache.store.store", "cache.sources.oci.manifest"}
    assert not heavy & set(done.stdout.split())


def test_the_command_starts_with_it(asked: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cli.start", "pull", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert Path(done.stdout.strip()).is_dir()
    assert "click" not in done.stderr
