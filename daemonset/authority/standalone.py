"""Grants of a stand-alone agent: its configuration file is the authority."""

from __future__ import annotations

from collections.abc import Mapping

from api.broker import Grant
from api.errors import NotFound
from api.reference import OciReference, parse_reference
from daemonset.config import AgentConfig
from daemonset.pulling.desired import Desired, from_config

ALL = "*"  # whoever may open the agent's socket on this machine may read its models


class ConfiguredGrants:
    """Answers as the broker would, from the file."""

    def __init__(self, config: AgentConfig) -> None:
        self._grants = {
            desired.key: Grant(
                model=f"{model.namespace}/{model.base_name}",
                source=model.source,
                revision="",
                namespaces=[ALL],
                plain_http=_host(model.source) in config.plain_http,
            )
            for desired, model in zip(from_config(config.models), config.models, strict=True)
        }

    @property
    def all(self) -> Mapping[str, Grant]:
        """By ``Desired.key``."""
        return self._grants

    async def grant(self, desired: Desired) -> Grant:
        """Raises NotFound for a model that is not in the file any more."""
        try:
            return self._grants[desired.key]
        except KeyError:
            raise NotFound(f"{desired.source} is not in the agent's configuration") from None


def _host(source: str) -> str:
    reference = parse_reference(source)
    return reference.host if isinstance(reference, OciReference) else ""
