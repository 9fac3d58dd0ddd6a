"""Which commit a branch of a Hub's repository is at, asked without the Hub's library: its import takes 350 ms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from api.reference import UrlReference
from cache.http.client import Client
from cache.http.network import network_from_env
from cache.http.url import parse_url
from cache.sources.hf.hub import find_hub, repository_of
from cache.sources.options import SourceOptions

_MAX_BYTES = 16 << 20  # the answer also lists the files, without their sizes


def current_commit(
    reference: UrlReference, *, options: SourceOptions, environ: Mapping[str, str] = os.environ
) -> str | None:
    """None where the Hub does not plainly say. Raises named errors and OSError."""
    if environ.get("HF_HUB_OFFLINE"):
        return None  # not ours to decide what that means for what is here
    hub = find_hub(options, environ=environ)
    name = quote(reference.revision or "main", safe="")
    url = parse_url(f"{hub.endpoint}/api/models/{repository_of(reference)}/revision/{name}")
    client = Client(network_from_env())
    try:
        login = {"Authorization": f"Bearer {hub.token}"} if hub.token else {}
        response = client.request("GET", url, headers=login)
        said = json.loads(response.read(_MAX_BYTES)).get("sha") if response.status == 200 else None
    except (ValueError, AttributeError):
        return None
    finally:
        client.close()
    return said if isinstance(said, str) and re.fullmatch(r"[0-9a-f]{40}", said) else None
