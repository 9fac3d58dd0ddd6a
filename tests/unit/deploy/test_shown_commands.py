"""Every command of ours that a page, a help text or a message shows is one that the parser takes.

Names and options as they are spelled; the values stand for the reader's own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import warmset

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("api", "cache", "cli", "controller", "csi", "daemonset", "kube")
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "deploy").rglob("NOTES.txt")])
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
STARTERS = ("warmset", "srun", "kubectl")


def whole_lines(text: str) -> Iterator[list[str]]:
    """Commands that stand on a line of their own, in a block of either kind: the words after ``warmset``."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(rf"( {{4}})?({'|'.join(STARTERS)}) ", line):
            words = shlex.split(line.partition(" # ")[0])
            if "warmset" in words:
                rest = words[words.index("warmset") + 1 :]
                yield rest[: min((rest.index(end) for end in ("&", "||", "&&") if end in rest), default=None)]


def mentions(text: str) -> Iterator[list[str]]:
    """Commands within a sentence; they may leave out what must follow an option."""
    for shown in re.findall(r"`{1,2}(?:kubectl )?warmset ([^`\n]+)`", text):
        if re.match("[a-z]", shown):  # else `warmset …` or `warmset --help`
            yield shown.split()


def of(words: list[str]) -> click.Command:
    command = warmset.get_command(click.Context(warmset), words[0])
    assert command is not None, words
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_pages_commands_are_parsed(page: Path) -> None:
    for words in whole_lines(page.read_text()):
        command = of(words)
        command.make_parser(click.Context(command)).parse_args(words[1:])


def test_so_are_the_examples_of_every_command() -> None:
    shown = [words for name in warmset.list_commands(click.Context(warmset)) for words in whole_lines(help_of(name))]
    assert len(shown) > 10
    for words in shown:
        command = of(words)
        command.make_parser(click.Context(command)).parse_args(words[1:])


def help_of(name: str) -> str:
    return of([name]).help or ""


def test_commands_and_options_that_a_sentence_or_a_message_names_exist() -> None:
    for file in [page for page in PAGES if page.name != "CHANGELOG.md"] + SOURCES:  # it tells of former ones too
        for words in mentions(file.read_text()):
            options = {option for parameter in of(words).params for option in parameter.opts}
            assert {word for word in words[1:] if word.startswith("-")} <= options, (file, words)
