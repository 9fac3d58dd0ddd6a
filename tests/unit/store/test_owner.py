"""Who holds a root's lock, as the kernel's table has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.errors import StoreLocked
from cache.store import Store
from cache.store.owner import Owner, holder, owner_of

# proc_locks(5): a lock of another kind on the same file, one who waits, and the same inode number on another device.
LOCKS = """\
1: POSIX  ADVISORY  WRITE 11 fe:01:4711 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fe:02:4711 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fe:01:4711 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 fe:01:4711 0 EOF
4: OFDLCK ADVISORY  READ -1 00:06:98 0 EOF
"""


def test_the_holder_is_found_among_other_locks_and_who_waits() -> None:
    assert holder(LOCKS, device=os.makedev(0xFE, 1), inode=4711) == 13


def test_a_lock_that_is_not_shown_has_no_holder() -> None:
    assert holder(LOCKS, device=os.makedev(0xFE, 1), inode=98) is None


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("/opt/warmset/bin/python", "/opt/warmset/bin/warmset", "agent", "--config", "a.yaml"), "agent"),
        (("python", "-m", "cli.main", "pull", "--root", "/var/lib/warmset", "agent"), "pull"),
        (("flock", "/var/lib/store/.lock", "sleep"), ""),
        (("/usr/bin/warmset",), ""),
    ],
)
def test_the_command_is_the_one_behind_the_program(arguments: tuple[str, ...], command: str) -> None:
    assert Owner(17, arguments).command == command


def test_an_owner_is_named_by_what_it_runs_and_never_by_its_options() -> None:
    assert str(Owner(17, ("python", "/bin/warmset", "agent", "--config", "a.yaml"))) == "warmset agent (process 17)"
    assert str(Owner(17, ("/usr/bin/flock", "x"))) == "flock (process 17)"


def test_the_process_that_holds_the_lock_is_named_to_who_is_refused(root: Path) -> None:
    program = "import sys; from pathlib import Path; from cache.store import Store\n"
    program += "with Store.open(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match=rf"\(process {other.pid}\) owns the cache at {root}"):
            Store.open(root)
        other.communicate()
    assert owner_of(root) is None
