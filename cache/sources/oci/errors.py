"""Statuses of registries as named errors."""

from __future__ import annotations

import json
import time

from api.errors import Forbidden, InvalidRequest, NotFound, RateLimited, SourceUnavailable, Unauthorized, WarmsetError
from api.text import one_line
from cache.http.response import Response

_MAX_ERROR_BYTES = 16 * 1024
_MAX_SHOWN = 200
DEFAULT_RETRY_AFTER_S = 1.0
MAX_RETRY_AFTER_S = 60.0  # whatever a server asks for; beyond, our own back-off decides


def check_status(response: Response, *, what: str, ok: tuple[int, ...] = (200,)) -> None:
    """Return where the status is one of ``ok``; else read the answer's text, close it and raise what it means."""
    if response.status in ok:
        return
    detail = _detail(response)
    raise _error(response, f"{what}: the server answered {response.status}{detail}")


def _error(response: Response, message: str) -> WarmsetError:
    status = response.status
    if response.redirected and status in (401, 403):
        # A presigned address that ran out of time: the next try asks the registry for a new one.
        return SourceUnavailable(f"{message} (after a redirect)")
    if status == 401:
        return Unauthorized(message, hint="the login was not taken: docker login again, or correct the Model's Secret")
    if status == 403:
        return Forbidden(message, hint="the login needs a right to this repository")
    if status in (404, 410):
        return NotFound(message, hint="check the repository, and the tag or digest")
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        return RateLimited(
            message, retry_after_s=retry_after_s(response.headers.get("retry-after", ""), now=time.time())
        )
    if status >= 500 or status in (408, 416) or status < 400:  # 416: another replica may have the rest
        return SourceUnavailable(message)
    return InvalidRequest(message)


def retry_after_s(value: str, *, now: float) -> float:
    """Seconds to wait for a Retry-After of seconds or a date (RFC 9110 §10.2.3), within sane limits."""
    from email.utils import parsedate_to_datetime  # dear to import, and rarely needed

    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_RETRY_AFTER_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_RETRY_AFTER_S
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _detail(response: Response) -> str:
    """The registry's own words (distribution spec, Error Codes), cut and made printable."""
    try:
        body = response.read(_MAX_ERROR_BYTES)
        errors = json.loads(body)["errors"]
        text = ", ".join(f"{e.get('code', '')} {e.get('message', '')}".strip() for e in errors[:3])
    except (OSError, SourceUnavailable, ValueError, KeyError, TypeError, AttributeError):
        return ""
    finally:
        response.close()
    return f" ({one_line(text, limit=_MAX_SHOWN)})" if text else ""
