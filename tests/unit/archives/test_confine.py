"""What reads hostile bytes in C can open nothing, call nobody, start nothing, and take no more than its share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cache.archives.confine import _MACHINES

MEMORY_BYTES = 256 << 20
# What is imported must be imported before; what is forbidden must fail and not kill.
PROGRAM = """
import os, socket, subprocess, time
from cache.archives.confine import confine
def attempt(what):
    try:
        what()
    except MemoryError:
        return "no memory"
    except OSError as error:
        return error.strerror
    return "done"
def spin():
    while True:
        pass
filtered = confine(memory_bytes={memory}, cpu_s=1)
os.write(1, f"{{filtered}} {{attempt(lambda: {what})}}".encode())
os._exit(0)
"""

filtered_here = pytest.mark.skipif(
    os.uname().machine not in _MACHINES, reason="system calls are filtered on x86_64 and aarch64"
)


def confined(what: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(memory=MEMORY_BYTES, what=what)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@filtered_here
@pytest.mark.parametrize(
    "what",
    [
        "os.open('/etc/passwd', os.O_RDONLY)",
        "os.open('made', os.O_WRONLY | os.O_CREAT)",
        "os.unlink('nothing')",
        "socket.socket()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.listdir('/')",
        "os.pipe()",
    ],
)
def test_every_call_but_reading_writing_and_memory_is_refused(what: str) -> None:
    assert confined(what).stdout == "True Operation not permitted"


def test_what_is_open_can_be_read_and_written() -> None:
    assert confined("os.write(1, b'')").stdout.endswith(" done")


def test_memory_ends_where_the_limit_is() -> None:
    assert confined("bytearray(64 << 20)").stdout.endswith(" done")
    assert confined(f"bytearray({MEMORY_BYTES})").stdout.endswith(" no memory")


def test_processor_time_ends_the_process() -> None:
    assert confined("spin()").returncode in (-signal.SIGXCPU, -signal.SIGKILL)
