"""What a Hub says of a repository, asked through its own library; its failures as named errors.

The library is used for metadata only: its downloader checks sizes, not hashes, and cannot resume across processes.
It is imported when a Hub is first asked, because that takes longer than a whole warm pull.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api.digest import Digest
from api.errors import (
    Forbidden,
    InvalidArtifact,
    InvalidReference,
    NotFound,
    RateLimited,
    SourceUnavailable,
    Unauthorized,
    WarmsetError,
)
from api.reference import UrlReference
from api.text import one_line
from api.tree import TreeFile
from cache.http.retry import PATIENCE, with_retries
from cache.http.url import Origin, parse_url
from cache.sources.artifact import Unhashed, key_of
from cache.sources.oci.errors import retry_after_s
from cache.sources.options import SourceOptions

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

DEFAULT_ENDPOINT = "https://huggingface.co"
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 20.0
_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a Hub is, and who asks. ``origin`` is the only one that may see the token."""

    endpoint: str
    origin: Origin
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at a commit."""

    repository: str
    commit: str
    files: tuple[TreeFile, ...]  # in LFS or Xet: the Hub names their sha256
    in_git: tuple[Unhashed, ...]  # the small rest: git's own sha1 is all there is


def find_hub(options: SourceOptions, *, environ: Mapping[str, str] = os.environ) -> Hub:
    """The Hub of HF_ENDPOINT, or the public one. Raises InvalidReference for an endpoint that must not be used.

    A token comes from the credential for the Hub's host, else, where that is allowed, from HF_TOKEN or the login of
    ``hf auth login``.
    """
    endpoint, origin = hub_address(environ)
    if origin.scheme == "http" and not (options.ambient or origin.authority in options.plain_http):
        raise InvalidReference(f"the Hub at {origin} has no TLS, and is not listed as such")
    return Hub(endpoint, origin, _token(origin, options=options, environ=environ))


def hub_address(environ: Mapping[str, str] = os.environ) -> tuple[str, Origin]:
    """The endpoint's URL, and whose token it may see. Raises InvalidReference."""
    endpoint = (environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    try:
        return endpoint, parse_url(endpoint).origin
    except SourceUnavailable as error:
        raise InvalidReference(f"HF_ENDPOINT cannot be read: {error.message}") from error


def _token(origin: Origin, *, options: SourceOptions, environ: Mapping[str, str]) -> str:
    given = options.credential
    if given is not None and given.host == origin.authority:
        return given.identity_token or given.password
    if not options.ambient:
        return ""
    if not environ.get("HF_OIDC_RESOURCE"):
        # The plain cases without the library, and its import: huggingface_hub 2.4, "Environment variables".
        if token := environ.get("HF_TOKEN", "").strip():
            return token
        home = environ.get("HF_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
        if not Path(environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser().exists():
            return environ.get("HUGGING_FACE_HUB_TOKEN", "")
    from huggingface_hub import get_token

    return get_token() or ""


def repository_of(reference: UrlReference) -> str:
    """Raises InvalidReference for what is not org/name."""
    name = reference.location
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".", "-")):
        raise InvalidReference(f"{name[:120]!r} is not a repository on the Hub", hint="write hf://org/name@revision")
    return name


def read_snapshot(hub: Hub, *, repository: str, revision: str) -> Snapshot:
    """One request. Raises a named error that says what to do next."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token or False)
    what = f"{repository}@{revision or 'main'}"
    info = with_retries(
        lambda: _ask(api, hub, repository=repository, revision=revision),
        policy=PATIENCE,
        cancel=threading.Event(),
        what=what,
    )
    commit, siblings = info
    if _COMMIT.fullmatch(revision) and commit != revision:
        raise InvalidArtifact(f"{what}: the Hub answered with commit {commit[:60]!r}")
    if not _COMMIT.fullmatch(commit):
        raise InvalidArtifact(f"{what}: the Hub names no commit")
    files: list[TreeFile] = []
    in_git: list[Unhashed] = []
    for sibling in siblings:
        file = _file(sibling, what=what)
        files.append(file) if isinstance(file, TreeFile) else in_git.append(file)
    return Snapshot(repository, commit, tuple(files), tuple(in_git))


def _ask(api: HfApi, hub: Hub, *, repository: str, revision: str) -> tuple[str, list[RepoSibling]]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = api.model_info(repository, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_S)
    except HfHubHTTPError as error:
        raise _named(error, hub, repository=repository, revision=revision) from error
    except OfflineModeIsEnabled as error:
        raise NotFound(
            f"{repository} is not known here, and HF_HUB_OFFLINE forbids to ask the Hub", hint="unset HF_HUB_OFFLINE"
        ) from error
    except httpx2.HTTPError as error:
        raise SourceUnavailable(
            f"the Hub at {hub.origin} cannot be reached: {type(error).__name__}",
            hint="check the network; HTTPS_PROXY names a proxy, HF_ENDPOINT another Hub",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceUnavailable(f"the Hub at {hub.origin} gave an answer that cannot be read") from error
    return info.sha or "", info.siblings or []


def _named(error: Exception, hub: Hub, *, repository: str, revision: str) -> WarmsetError:
    response = getattr(error, "response", None)
    status = int(getattr(response, "status_code", 0) or 0)
    headers = {name.lower(): value for name, value in getattr(response, "headers", {}).items()}
    return refusal(status, headers, hub, repository=repository, what=f"{repository}@{revision or 'main'}")


def refusal(status: int, headers: Mapping[str, str], hub: Hub, *, repository: str, what: str) -> WarmsetError:
    """What a Hub's status means (its X-Error-Code header says more), and what to do about it."""
    code = headers.get("x-error-code", "")
    said = one_line(headers.get("x-error-message", ""), limit=_MAX_SHOWN)
    message = f"{what}: the Hub answered {status}" + (f" ({said})" if said else "")
    page = f"{hub.endpoint}/{repository}"
    if code == "GatedRepo":
        if hub.token:
            return Forbidden(f"{message}: the repository is gated", hint=f"ask for access at {page} with this account")
        return Unauthorized(f"{message}: the repository is gated", hint=f"ask for access at {page}, then set HF_TOKEN")
    if code == "RevisionNotFound":
        return NotFound(f"{message}: no such revision", hint=f"see {page}/tree/main for its branches and tags")
    if code == "EntryNotFound":
        return NotFound(f"{message}: no such file")
    if status == 401 and hub.token:
        return Unauthorized(f"{message}: it refuses the token, or there is no such repository", hint="renew the token")
    if status in (401, 404):
        # The Hub answers alike for what is private and for what is not there.
        hint = "check the name" if hub.token else "check the name; a private repository needs HF_TOKEN"
        return (Unauthorized if status == 401 else NotFound)(
            f"{message}: no such repository, or a private one", hint=hint
        )
    if status == 403:
        return Forbidden(message, hint="the token needs the right to read this repository")
    if status == 429:
        wait_s = retry_after_s(headers.get("retry-after", ""), now=time.time())
        return RateLimited(
            message, retry_after_s=wait_s, hint="" if hub.token else "with HF_TOKEN the limits are higher"
        )
    return SourceUnavailable(message)


def _file(sibling: RepoSibling, *, what: str) -> TreeFile | Unhashed:
    path, lfs = sibling.rfilename, sibling.lfs
    if lfs is not None:
        if not isinstance(lfs.size, int) or lfs.size < 0:
            raise InvalidArtifact(f"{what}: {path[:120]!r} has no size")
        return TreeFile(path, lfs.size, Digest(lfs.sha256))
    size, name = sibling.size, sibling.blob_id or ""
    if not isinstance(size, int) or size < 0 or not _COMMIT.fullmatch(name):
        raise InvalidArtifact(f"{what}: {path[:120]!r} has no size or no git-sha1")
    return Unhashed(path, size, key_of("git-sha1", name, str(size)), git_sha1=name)
