"""The commands on the local store: how they speak, what they refuse, and that help costs no heavy import."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from api.digest import Digest
from api.errors import InvalidRequest, NotFound, WarmsetError
from api.keys import model_key
from cache.export import export_tree
from cache.find import find_tree
from cache.store import PullRecord, Store
from cache.transfer.progress import Progress
from cli.amounts import Rate
from cli.local import size_text
from cli.main import warmset
from cli.progress import LINE_EVERY_S, Reporter
from tests.support.fake_registry import FakeRegistry
from tests.unit.cli.conftest import FILES


def run(*arguments: str) -> Result:
    return CliRunner().invoke(warmset, list(arguments), catch_exceptions=True)


def pull(registry: FakeRegistry, *more: str) -> Any:
    done = run("pull", "--plain-http", "-o", "json", f"oci://{registry.host}/m/tiny:v1", *more)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_pull_prints_where_the_model_is(registry: FakeRegistry, own_store: Path) -> None:
    done = run("pull", "--plain-http", f"oci://{registry.host}/m/tiny:v1")
    assert done.stdout.strip().startswith(str(own_store / "trees"))
    assert "2 files" in done.stderr


def test_json_says_what_was_pulled(registry: FakeRegistry, tmp_path: Path) -> None:
    told = pull(registry, str(tmp_path / "out"))
    assert told["path"] == str(tmp_path / "out")
    assert (told["files"], told["bytes"], told["bytesOrigin"], told["bytesReused"]) == (2, 3145730, 3145730, 0)


def test_a_folder_is_copied_where_hard_links_cannot_be(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(registry)  # the store itself cannot do without links

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    pull(registry, str(tmp_path / "out"))
    model = tmp_path / "out" / "sub" / "model.safetensors"
    assert model.read_bytes() == FILES["sub/model.safetensors"]
    assert (model.stat().st_nlink, model.stat().st_mode & 0o777) == (1, 0o444)


def test_a_folder_that_cannot_be_made_leaves_nothing(registry: FakeRegistry, own_store: Path, tmp_path: Path) -> None:
    pull(registry)
    with Store.open(own_store) as store:
        tree = store.tree(store.trees()[0])
        assert tree is not None
        (tmp_path / "file").touch()
        with pytest.raises(WarmsetError):
            export_tree(store, tree, tmp_path / "file" / "out")
        with pytest.raises(InvalidRequest):
            export_tree(store, tree, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "file"]


def test_an_empty_folder_is_filled(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    pull(registry, str(tmp_path / "out"))
    assert (tmp_path / "out" / "config.json").read_bytes() == b"{}"


def test_ls_shows_what_is_there(registry: FakeRegistry) -> None:
    assert "REFERENCE" in run("ls").stdout
    pull(registry)
    assert f"oci://{registry.host}/m/tiny:v1" in run("ls").stdout


def test_a_tree_is_found_by_reference_revision_digest_or_a_nodes_name(registry: FakeRegistry, own_store: Path) -> None:
    pulled = pull(registry)
    tree, revision = Digest.parse(pulled["tree"]), pulled["revision"]
    reference = f"oci://{registry.host}/m/tiny:v1"
    with Store.open(own_store) as store:
        store.record_pull(PullRecord(f"{'a' * 32}@{reference}", revision, tree, "agent"))
        store.record_pull(PullRecord(f"{model_key('team-a', 'llama')}@{reference}", revision, tree, "agent"))
        for target in ("team-a/llama", str(tree), tree.hex, tree.hex[:6], reference, revision, revision[:13], "a" * 32):
            assert find_tree(store, target) == tree
        with pytest.raises(NotFound):
            find_tree(store, "")
        with pytest.raises(NotFound):
            find_tree(store, "sha256:")


def test_rm_of_a_reference_leaves_what_another_shares(registry: FakeRegistry) -> None:
    registry.add_model("m/tiny", "v2", FILES)
    pull(registry)
    run("pull", "--plain-http", f"oci://{registry.host}/m/tiny:v2")
    done = run("rm", f"oci://{registry.host}/m/tiny:v1")
    assert "its files stay" in done.stdout
    rows = json.loads(run("ls", "-o", "json").stdout)
    assert [row["reference"] for row in rows] == [f"oci://{registry.host}/m/tiny:v2"]


def test_verify_names_what_is_wrong(registry: FakeRegistry) -> None:
    wrong = Path(pull(registry)["path"]) / "sub" / "model.safetensors"
    wrong.chmod(0o644)
    wrong.write_bytes(b"x" * wrong.stat().st_size)
    done = run("verify")
    assert isinstance(done.exception, WarmsetError)
    assert done.exception.exit_code == 7
    assert "sub/model.safetensors" in done.stdout


@pytest.mark.parametrize(
    ("text", "rate"), [("50MB", 50_000_000), ("1GiB", 1 << 30), ("1.5MiB/s", 3 << 19), ("100", 100), ("2k", 2000)]
)
def test_rates_are_read(text: str, rate: int) -> None:
    assert Rate().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "0", "-1MB", "fast", "1TBps", "nan", "inf"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Rate().convert(text, None, None)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


def test_off_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Reporter("tiny", terminal=False) as reporter:
        for _ in range(44):
            now[0] += 0.25
            reporter(Progress(50, 200, 50, 0, 1, 4))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11 // LINE_EVERY_S
    assert lines[0].startswith("tiny: 25%, 50 B of 200 B, ")


def test_on_a_terminal_progress_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter("tiny", terminal=True) as reporter:
        reporter(Progress(200, 200, 200, 0, 4, 4))
    assert "tiny" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["push", "pull", "ls", "verify", "rm"])
def test_help_teaches_by_example(command: str) -> None:
    assert f"warmset {command}" in run(command, "--help").stdout


def imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_help_and_a_warm_pull_import_only_what_they_need() -> None:
    assert not imported_by("import cli.main, cli.commands.pull") & {"cache.store.store", "msgspec", "rich"}
    warm = imported_by("import cli.main, cli.commands.pull, cache.pull, cli.progress")
    assert not warm & {
        "ssl",
        "rich",
        "asyncio",
        "subprocess",
        "requests",
        "aiohttp",
        "cache.transfer.engine",
        "cache.push",
    }
