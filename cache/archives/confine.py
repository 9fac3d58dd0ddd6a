"""Takes from this process all that decompressing does not need, for good: C code that reads hostile bytes may be wrong.

Limits on memory, processor time and files hold everywhere. Where the kernel has seccomp and this machine's system
calls are known below, whatever is not named fails with EPERM: no file can be opened, no socket made, no program run.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

# <linux/prctl.h>, <linux/seccomp.h>, <linux/filter.h>, <linux/audit.h>
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_NUMBER_AT, _MACHINE_AT = 0, 4  # in struct seccomp_data

# Reading, writing, memory, and ending. Numbers: asm/unistd_64.h and asm-generic/unistd.h.
_MACHINES = {
    # read write close mmap munmap brk rt_sigprocmask rt_sigreturn readv writev mremap madvise exit sigaltstack futex
    # clock_gettime exit_group getrandom
    "x86_64": (0xC000003E, (0, 1, 3, 9, 11, 12, 14, 15, 19, 20, 25, 28, 60, 131, 202, 228, 231, 318)),
    "aarch64": (0xC00000B7, (63, 64, 57, 222, 215, 214, 135, 139, 65, 66, 216, 233, 93, 132, 98, 113, 94, 278)),
}


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine(*, memory_bytes: int, cpu_s: int) -> bool:
    """Give up everything but open descriptors and so much memory and processor time, the address space counted whole.

    Past the first, allocations fail; past the second, the process is killed. Returns whether system calls are filtered
    too. Raises OSError or ValueError where a limit cannot be set.
    """
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    filtered = _filter()
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))
    return bool(filtered) and _install(filtered)


def _filter() -> bytes:
    """The seccomp program (seccomp(2)); empty for a machine whose numbers are not known here."""
    machine, allowed = _MACHINES.get(os.uname().machine, (0, ()))
    if not allowed:
        return b""
    steps = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_JUMP_IF_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    steps += [(_JUMP_IF_EQUAL, len(allowed) - at, 0, number) for at, number in enumerate(allowed)]
    steps += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _install(program: bytes) -> bool:
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) != 0:
        return False
    described = _Program(len(program) // 8, program)
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(described), 0, 0) == 0)
