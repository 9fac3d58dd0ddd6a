"""References: where a model comes from.

oci://host[:port]/repo[:tag][@sha256:<hex>]      hf://org/name[@revision]
s3://bucket/prefix   gs://bucket/prefix   az://container/prefix   https://…   file:///…   and others by fsspec's names

A revision is what a reference resolved to. Written behind a reference it pins it: ``@<commit>`` for hf, for all but oci
and hf ``@sha256:<hex>``, the digest of a listing of the files with their versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from api.digest import Digest
from api.errors import InvalidArtifact, InvalidReference

SCHEMES = ("oci", "hf", "s3", "gs", "az", "https", "file")

# OCI distribution spec 1.1, "Pulling manifests".
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,39}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LISTING = re.compile(r"sha256:[0-9a-f]{64}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
_EXAMPLE = "for example oci://registry.example.com/models/llama-3-70b:v1"


@dataclass(frozen=True, slots=True)
class OciReference:
    """``oci://host/repository:tag@digest``; without both tag and digest the tag is ``latest``."""

    host: str
    repository: str
    tag: str | None
    digest: Digest | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"oci://{self.host}/{self.repository}{tag}{digest}"

    @property
    def name(self) -> str:
        """The last component of the repository: the model's name where none is given."""
        return self.repository.rpartition("/")[2]

    @property
    def manifest(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag."""
        return str(self.digest) if self.digest else (self.tag or "latest")

    @property
    def place(self) -> str:
        """The repository, whatever the revision: what a credential opens."""
        return f"oci://{self.host}/{self.repository}"

    @property
    def is_pinned(self) -> bool:
        return self.digest is not None

    def pinned(self, revision: str) -> OciReference:
        """This reference at exactly ``revision``. Raises InvalidArtifact for what is no digest."""
        return replace(self, digest=Digest.parse(revision))


@dataclass(frozen=True, slots=True)
class UrlReference:
    """A reference of any other scheme: ``location`` is all after ``scheme://``, up to ``@revision``."""

    scheme: str
    location: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.place}@{self.revision}" if self.revision else self.place

    @property
    def name(self) -> str:
        return self.location.rstrip("/").rpartition("/")[2]

    @property
    def place(self) -> str:
        """The repository, bucket with prefix or file, whatever the revision: what a credential opens."""
        return f"{self.scheme}://{self.location}"

    @property
    def is_pinned(self) -> bool:
        return (_COMMIT if self.scheme == "hf" else _LISTING).fullmatch(self.revision) is not None

    def pinned(self, revision: str) -> UrlReference:
        """This reference at exactly ``revision``."""
        return replace(self, revision=revision)


Reference = OciReference | UrlReference


def parse_reference(text: str) -> Reference:
    """Read a reference. Raises InvalidReference, whose message says what is wrong and shows a right one."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        raise InvalidReference(f"{text[:200]!r} has no scheme", hint=f"write {_with_scheme(scheme)}")
    if not _SCHEME.fullmatch(scheme):
        raise InvalidReference(f"unknown scheme {scheme[:40]!r}", hint=f"known: {', '.join(SCHEMES)}")
    if "@" in rest.partition("/")[0]:
        raise InvalidReference("a reference must not hold credentials", hint="use `docker login` or spec.secretRef")
    if not rest or any(c.isspace() or not c.isprintable() for c in rest):
        raise InvalidReference(f"{text[:200]!r} is empty or holds white space", hint=f"write {_EXAMPLE}")
    if scheme == "oci":
        return _parse_oci(rest)
    if "?" in rest or "#" in rest:
        # Signed queries are credentials; fragments mean nothing to a source.
        raise InvalidReference("a reference must not hold a query or a fragment")
    location, at, revision = rest.partition("@") if scheme == "hf" else rest.rpartition("@")
    if scheme == "hf":
        if at and not revision:
            raise InvalidReference("nothing after the @", hint="write for example hf://org/name@main")
        return UrlReference(scheme, location, revision)
    # A name in a bucket may itself hold an @.
    return UrlReference(scheme, location, revision) if _LISTING.fullmatch(revision) else UrlReference(scheme, rest)


def _with_scheme(text: str) -> str:
    """What was probably meant: an image's name as docker has it, or a repository's as the Hub has it."""
    first, slash, rest = text.partition("/")
    if slash and rest and ("." in first or ":" in first or first == "localhost") and _HOST.fullmatch(first):
        return f"oci://{text[:200]}"
    return f"hf://{text[:200]}" if _HUB_NAME.fullmatch(text) else _EXAMPLE


def _parse_oci(rest: str) -> OciReference:
    host, _, path = rest.partition("/")
    if not _HOST.fullmatch(host):
        raise InvalidReference(f"{host[:200]!r} is not a registry host", hint=f"write {_EXAMPLE}")
    path, at, digest_text = path.partition("@")
    repository, colon, tag = path.partition(":")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise InvalidReference(
            f"{repository[:200]!r} is not a repository name (lower case, digits, . _ - /)", hint=f"write {_EXAMPLE}"
        )
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(f"{tag[:200]!r} is not a tag", hint=f"write {_EXAMPLE}")
    try:
        digest = Digest.parse(digest_text) if at else None
    except InvalidArtifact as error:
        raise InvalidReference(f"after @: {error.message}") from error
    if not colon and digest is None:
        tag = "latest"
    return OciReference(host, repository, tag or None, digest)
