"""What a pod's annotation asks for: Models by name, or references given bare.

    warmset.dev/model: llama                      a Model in the pod's namespace
    warmset.dev/model: team-a/llama               a Model in another, if that one allows it
    warmset.dev/model: oci://host/models/llama:v1 a reference; the controller makes the Model ref-<hash> for it
    warmset.dev/model: llama, llama-draft         several

A bare reference is pulled with the Secret that ``warmset.dev/secret`` names, else (oci only) with the first of the
pod's imagePullSecrets that has a login for its host, else anonymously. The Secrets are part of the made Model's
identity, so that two pods with different credentials never share one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from api import keys
from api.errors import InvalidReference, InvalidRequest
from api.reference import parse_reference
from api.resources import Layout
from controller.objects.pods import Pod

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MOST_MODELS = 32
_MOST_SECRETS = 16  # as the schema of Models
_NOT_A_SOURCE_IN_A_CLUSTER = ("file",)  # a path on a node's disk belongs to nobody's namespace


@dataclass(frozen=True, slots=True)
class Request:
    """One model asked for. All from ``source`` on is set for a bare reference only."""

    namespace: str
    name: str
    path: str
    source: str = ""
    secret: str = ""
    pull_secrets: tuple[str, ...] = ()
    layout: Layout = "plain"

    @property
    def model(self) -> str:
        return f"{self.namespace}/{self.name}"


def requests(pod: Pod, *, namespace: str) -> tuple[Request, ...]:
    """What the pod's annotation asks for; nothing without one. Raises InvalidRequest or InvalidReference."""
    annotations = pod["metadata"].get("annotations") or {}
    text = annotations.get(keys.MODEL)
    if text is None:
        return ()
    asked = [part.strip() for part in text.split(",")]
    if not all(asked):
        raise InvalidRequest(
            f"{keys.MODEL}: {text[:200]!r} names no model", hint="write a Model's name or a reference such as oci://…"
        )
    if len(asked) > _MOST_MODELS:
        raise InvalidRequest(f"{keys.MODEL} names {len(asked)} models; at most {_MOST_MODELS} are taken")
    paths = _paths(annotations.get(keys.PATH), count=len(asked))
    found = tuple(_request(part, pod, namespace=namespace, path=path) for part, path in zip(asked, paths, strict=True))
    where = [request.path for request in found]
    if twice := next((path for path in where if where.count(path) > 1), None):
        raise InvalidRequest(
            f"two models would be mounted at {twice}", hint=f"give each its own path with {keys.PATH}: /a, /b"
        )
    return found


def _request(text: str, pod: Pod, *, namespace: str, path: str | None) -> Request:
    if "://" in text:
        return _bare(text, pod, namespace=namespace, path=path)
    where, slash, name = text.rpartition("/")
    where = where if slash else namespace
    if not _NAME.fullmatch(name) or not _NAMESPACE.fullmatch(where):
        raise InvalidRequest(
            f"{keys.MODEL}: {text[:200]!r} is no Model's name",
            hint="write a name, namespace/name, or a reference such as oci://registry.example.com/models/llama:v1",
        )
    return Request(namespace=where, name=name, path=path or f"{keys.MODELS_FOLDER}/{name}")


def _bare(text: str, pod: Pod, *, namespace: str, path: str | None) -> Request:
    reference = parse_reference(text)
    scheme = text.partition("://")[0]
    if scheme in _NOT_A_SOURCE_IN_A_CLUSTER:
        raise InvalidReference(f"{scheme}:// is not a source in a cluster", hint="put the model into a registry")
    annotations = pod["metadata"].get("annotations") or {}
    secret = annotations.get(keys.SECRET, "")
    pull_secrets: tuple[str, ...] = ()
    if not secret and scheme == "oci":
        named = [s["name"] for s in pod["spec"].get("imagePullSecrets") or () if s.get("name")]
        pull_secrets = tuple(dict.fromkeys(named))[:_MOST_SECRETS]
    source, layout = str(reference), _layout(annotations.get(keys.LAYOUT, "plain"), scheme=scheme)
    identity = (source, secret, *pull_secrets, *(() if layout == "plain" else (layout,)))
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    return Request(
        namespace=namespace,
        name=f"ref-{digest}",
        path=path or f"{keys.MODELS_FOLDER}/{reference.name}",
        source=source,
        secret=secret,
        pull_secrets=pull_secrets,
        layout=layout,
    )


def _layout(text: str, *, scheme: str) -> Layout:
    if text == "hf" and scheme == "hf":
        return "hf"
    if text in ("hf", "plain"):
        return "plain"  # one annotation speaks of all models of the pod, and only those of the Hub have another layout
    raise InvalidRequest(f"{keys.LAYOUT}: {text[:60]!r} is no layout", hint="write hf, or leave it out")


def _paths(text: str | None, *, count: int) -> list[str | None]:
    if text is None:
        return [None] * count
    paths = [part.strip() for part in text.split(",")]
    if len(paths) != count:
        raise InvalidRequest(f"{keys.PATH} gives {len(paths)} paths for {count} models")
    for path in paths:
        parts = PurePosixPath(path).parts
        if not path.startswith("/") or len(parts) < 2 or ".." in parts or ":" in path:
            # kube-apiserver refuses ':' in mountPath; '/' would hide the container's own files.
            raise InvalidRequest(f"{keys.PATH}: {path[:200]!r} is not an absolute path below /")
    return [str(PurePosixPath(path)) for path in paths]
