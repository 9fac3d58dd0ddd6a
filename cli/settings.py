"""What a user has set for every command: one YAML file, which need not be there.

mirrors:
  - host: registry.example.com
    url: https://mirror.example.com
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.errors import InvalidRequest
from api.reference import Reference
from cli.told import plain_hosts, settings_path

if TYPE_CHECKING:
    from cache.sources.mirror import Mirror
    from cache.sources.mirrors import Mirrors
    from cache.sources.options import SourceOptions


def user_options(
    reference: Reference, *, plain_http: bool, platform: str = "", artifact_type: str = ""
) -> SourceOptions:
    """What a command's source may use: all that its user is logged in to, and the mirrors of the user's file."""
    from cache.sources.options import SourceOptions

    return SourceOptions(
        plain_http=plain_hosts(reference, plain_http=plain_http),
        ambient=True,
        mirrors=_mirrors(settings_path()),
        platform=platform,
        artifact_type=artifact_type,
    )


def _mirrors(path: Path) -> Mirrors:
    from cache.sources.mirrors import Mirrors

    return Mirrors(_read(path) if path.exists() else (), on_failure=_tell)


def _read(path: Path) -> tuple[Mirror, ...]:
    import msgspec  # with yaml, dear to import where there is no such file
    import yaml

    from cache.sources.mirror import Mirror

    try:
        content = msgspec.convert(yaml.safe_load(path.read_text()) or {}, type=dict[str, Any])
        if unknown := content.keys() - {"mirrors"}:
            raise InvalidRequest(f"{path}: unknown key {min(unknown)[:60]!r}", hint="the only one is `mirrors`")
        return msgspec.convert(content.get("mirrors", ()), type=tuple[Mirror, ...])
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"{path}: {error}", hint="docs/sources.md says what it may hold") from error


def _tell(mirror: Mirror, error: Exception) -> None:
    click.echo(f"mirror {mirror.url} fails, going on without it: {error}", err=True)
