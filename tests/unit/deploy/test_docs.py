"""What the pages say about names, links and examples is so."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import errors, keys
from tests.support.pages import VALUES

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
FOLDERS = ("cache", "controller", "daemonset")
CODE = "".join(path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
REASONS = (ROOT / "docs" / "reasons.md").read_text()


def all_classes(of: type[errors.WarmsetError]) -> Iterator[type[errors.WarmsetError]]:
    yield of
    for sub in of.__subclasses__():
        yield from all_classes(sub)


def rows(title: str) -> list[list[str]]:
    """The cells of the table below a heading of the page of reasons, back-quotes taken off."""
    section = REASONS.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_failures_is_the_tree_of_classes() -> None:
    written = {row[0]: tuple(row[3:]) for row in rows("Failures")}
    actual = {
        cls.__name__: ("yes" if cls.retryable else "no", str(cls.exit_code), cls.grpc_status)
        for cls in all_classes(errors.WarmsetError)
        if cls.__module__ == errors.__name__
    }
    assert written == actual


@pytest.mark.parametrize("title", ["Why a group waits, or why it went", "Why a node was not chosen", "On one node"])
def test_every_other_reason_is_one_that_the_code_gives(title: str) -> None:
    names = [row[0] for row in rows(title)]
    assert names
    assert not [name for name in names if f'"{name}"' not in CODE]


def test_every_reason_that_the_controller_gives_is_on_the_page() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", REASONS, re.MULTILINE))
    given = {
        reason for path in (ROOT / "controller").rglob("*.py") for reason in reasons_given(ast.parse(path.read_text()))
    }
    assert len(given) > 20
    assert given - {"Pending", "Ready"} <= listed  # those are Kueue's own words, for its admission check


def reasons_given(module: ast.Module) -> Iterator[str]:
    """Names that stand before a message, or are passed as ``reason``."""
    for node in ast.walk(module):
        row = node.elts if isinstance(node, ast.Tuple) else node.args if isinstance(node, ast.Call) else []
        found = [first for first, second in itertools.pairwise(row) if is_message(second)]
        if isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
        names = (value.value for value in found if isinstance(value, ast.Constant))
        yield from (name for name in map(str, names) if re.fullmatch("([A-Z][a-z]+)+", name))


def is_message(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and " " in str(value.value))


def test_every_reason_has_an_entry_that_tells_what_to_do() -> None:
    entries = re.findall(r"^### (\w+)\n(.+)$", (ROOT / "docs" / "troubleshoot.md").read_text(), re.MULTILINE)
    named = set(re.findall(r"^\| `(\w+)` \|", REASONS, re.MULTILINE))
    assert named <= {name for name, _ in entries}
    assert len(entries) == len(dict(entries))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            file, _, anchor = target.partition("#")
            path = (page.parent / file).resolve()
            assert path.exists(), target
            if anchor:
                headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
                assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], target


def test_the_page_of_annotations_lists_those_that_users_write() -> None:
    written = re.findall(r"^\| `(warmset\.dev/[a-z-]+)` \|", (ROOT / "docs" / "annotate.md").read_text(), re.MULTILINE)
    users = {
        keys.MODEL,
        keys.SECRET,
        keys.PATH,
        keys.LAYOUT,
        keys.PRELOAD,
        keys.MAX_HOLD,
        keys.SPREAD,
        keys.GROUP,
        keys.GROUP_SIZE,
        keys.WORKER_INDEX,
    }
    assert set(written) == users


def test_no_page_or_example_names_a_key_that_does_not_exist() -> None:
    known = {value for value in vars(keys).values() if isinstance(value, str)}
    files = [*PAGES, *(ROOT / "deploy" / "examples").glob("*.yaml")]
    for file in files:
        used = set(re.findall(r"\bwarmset\.dev/[a-z-]+", file.read_text()))
        assert used - {"warmset.dev/v"} <= known, file


def test_every_test_that_the_page_of_faults_names_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs" / "faults.md").read_text()))
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not {name for name in named if f"def {name}(" not in written}


def test_every_setting_of_the_chart_that_a_page_names_exists() -> None:
    pattern = re.compile(rf"(?<![\w./-])((?:{'|'.join(VALUES)})(?:\.(?!md\b)[A-Za-z]\w*)+)(?![\w/-])")
    for page in [page for page in PAGES if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]:
        names = pattern.findall(page.read_text())
        for name in (name for name in names if f'"{name}"' not in CODE):  # those are events of the log
            value = VALUES
            for part in name.split("."):
                assert part in value or value == {}, (page.name, name)
                value = value.get(part, {})
