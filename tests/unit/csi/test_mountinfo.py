"""Reading /proc/self/mountinfo."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import MountsUnknown
from csi.mountinfo import Mount, containing, parse_mountinfo, read_mounts

# proc_pid_mountinfo(5)
EXAMPLE = b"36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n"
# Any path but "/" that the kernel can show: no NUL, no empty component.
PATHS = st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4).map(
    lambda parts: b"/" + b"/".join(part.replace(b"\0", b"0").replace(b"/", b"_") for part in parts)
)


def escaped(path: bytes) -> bytes:
    """What the kernel writes (fs/proc_namespace.c, mangle: space, tab, newline, back-slash and #)."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path)


def test_example_of_the_manual_page_is_read() -> None:
    (mount,) = parse_mountinfo(EXAMPLE)
    assert mount == Mount("98:0", "/mnt1", "/mnt2", frozenset({"rw", "noatime"}), shared=True)


def test_mount_without_optional_fields_is_not_shared() -> None:
    (mount,) = parse_mountinfo(b"36 35 98:0 / / rw - ext3 /dev/root rw\n")
    assert not mount.shared


def test_slave_of_a_shared_mount_is_not_shared() -> None:
    (mount,) = parse_mountinfo(b"36 35 98:0 / / rw master:2 - ext3 /dev/root rw\n")
    assert not mount.shared


@given(root=PATHS, point=PATHS)
def test_every_path_is_read_back_as_it_was(root: bytes, point: bytes) -> None:
    line = b"36 35 98:0 %s %s ro - ext4 /dev/sda ro\n" % (escaped(root), escaped(point))
    (mount,) = parse_mountinfo(line)
    assert os.fsencode(mount.root) == root
    assert os.fsencode(mount.point) == point


@given(st.lists(PATHS, max_size=5))
def test_mounts_keep_their_order(points: list[bytes]) -> None:
    text = b"".join(b"1 1 0:1 / %s ro - tmpfs none rw\n" % escaped(point) for point in points)
    assert [os.fsencode(mount.point) for mount in parse_mountinfo(text)] == points


@given(st.binary(max_size=200))
def test_any_other_text_is_refused_by_name(text: bytes) -> None:
    with suppress(MountsUnknown):
        parse_mountinfo(text)


@pytest.mark.parametrize("fields", range(1, 11))
def test_line_that_ends_before_the_mounts_source_is_refused(fields: int) -> None:
    with pytest.raises(MountsUnknown):
        parse_mountinfo(b" ".join(EXAMPLE.split()[:fields]))


def test_this_machine_has_a_root_mount() -> None:
    assert any(mount.point == "/" for mount in read_mounts())


def mount_at(point: str, *, root: str = "/") -> Mount:
    return Mount("8:1", root, point, frozenset(), shared=False)


def test_path_lies_on_the_longest_mount_point_above_it() -> None:
    mounts = [mount_at("/"), mount_at("/var/lib"), mount_at("/var")]
    assert containing(mounts, PurePath("/var/lib/warmset")) == mounts[1]


def test_of_stacked_mounts_the_last_counts() -> None:
    mounts = [mount_at("/var", root="/a"), mount_at("/var", root="/b")]
    assert containing(mounts, PurePath("/var")) == mounts[1]


def test_mount_point_that_is_only_a_prefix_of_the_name_does_not_count() -> None:
    mounts = [mount_at("/"), mount_at("/var/lib/warm")]
    assert containing(mounts, PurePath("/var/lib/warmset")) == mounts[0]
