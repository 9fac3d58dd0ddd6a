"""What the custom resources share: the fields of Kubernetes' own that they have, and the types of their own fields."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="A Model's name, or namespace/name of one that allows this namespace.",
    ),
]
Hash = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{32}$", description="A Model's namespace/name, hashed (api.keys.model_key).")
]
Revision = Annotated[
    str, Meta(max_length=256, description="What a reference resolved to, for example sha256:<hex> of an OCI manifest.")
]
TreeDigest = Annotated[
    str,
    Meta(
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="Digest of the tree: sha256 over its sorted (path, size, sha256) list.",
    ),
]
Bytes = Annotated[int, Meta(ge=0, description="In bytes.")]
Duration = Annotated[str, Meta(pattern=r"^([0-9]+(s|m|h))+$", description="A duration such as 90s, 30m or 1h30m.")]
Priority = Annotated[int, Meta(ge=-1000, le=1000, description="Higher pulls first.")]


class Wire(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Field names in camelCase; what equals its default is left out."""


class OwnerReference(Wire):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Wire):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owner_references: list[OwnerReference] = field(default_factory=list)
    finalizers: list[str] = field(default_factory=list)


class Condition(Wire):
    """As metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Meta(max_length=1024)]
    last_transition_time: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    message: Annotated[str, Meta(max_length=32768)] = ""
    observed_generation: int = 0
