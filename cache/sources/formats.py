"""Which files of a model run code when their usual readers load them. Pure, and by name alone: nothing is opened.

Scanners of pickles are bypassed again and again (CVE-2025-1716 and its siblings), and so are "safe" loaders
(CVE-2025-32434 in torch, CVE-2025-1550 in Keras), so the format itself decides. Any other name is data to us.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.errors import ExecutableContent

_SUFFIXES = frozenset(
    (
        *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".nemo", ".mar"),
        *(
            ".pt2",
            ".ptl",
            ".torchscript",
            ".h5",
            ".hdf5",
            ".keras",
            ".pb",
            ".mlmodel",
            ".engine",
            ".plan",
            ".llamafile",
        ),
        *(".py", ".pyc", ".pyo", ".pyd", ".pyz", ".so", ".dll", ".dylib", ".exe", ".jar", ".whl", ".egg"),
    )
)
_SHOWN = 5


def executable(paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` whose format may run code, sorted."""
    return sorted(path for path in paths if _runs_code(path))


def check_formats(paths: Iterable[str]) -> None:
    """Raises ExecutableContent, naming the files, where any may run code."""
    found = executable(paths)
    if found:
        shown = ", ".join(repr(path[:120]) for path in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ExecutableContent(
            f"files of formats that run code when they are loaded: {shown}{more}",
            hint="leave them out (--exclude, spec.files.exclude), or allow them where you trust the source: "
            "`warmset pull --allow-executable`, `allow_executable: true` in an agent's configuration",
        )


def _runs_code(path: str) -> bool:
    name = path.lower().rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    # Libraries carry versions behind their suffix.
    return (bool(stem) and dot + suffix in _SUFFIXES) or ".so." in name
