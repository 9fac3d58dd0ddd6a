"""When to try again, and how long to wait before: a value, applied in one place."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from api.errors import Cancelled, RateLimited, SourceUnavailable

T = TypeVar("T")

# What a repeated request can cure: trouble on the way, or a server that says "later".
TRANSIENT = (OSError, SourceUnavailable)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter. ``attempts`` counts the first one; with the defaults about 30 s pass in all."""

    attempts: int = 7
    first_s: float = 0.5
    factor: float = 2.0
    longest_s: float = 15.0
    jitter: float = 0.5  # share of the wait that is random, so that nodes which failed together do not return together

    def wait_s(self, failures: int, error: Exception, *, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the ``failures``-th failure in a row; at least what a rate limit asked for."""
        backoff_s = min(self.first_s * self.factor ** (failures - 1), self.longest_s)
        asked_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
        # What was asked for is spread too: a registry that tells a thousand nodes "in 10 s" must not get them all then.
        return max(asked_s, backoff_s * (1 - self.jitter)) + max(asked_s, backoff_s) * self.jitter * draw()


# For a question whose answer somebody waits for: a person, or a reconcile loop that asks again by itself.
PATIENCE = RetryPolicy(attempts=4, first_s=0.2, longest_s=2.0)


@dataclass(slots=True)
class Retries:
    """Failures in a row of one piece of work. Owned by one thread."""

    policy: RetryPolicy
    cancel: threading.Event
    failures: int = 0

    def pause(self, error: OSError | SourceUnavailable, *, what: str) -> None:
        """Wait before the next try. Raises the failure when tries are used up, Cancelled when cancelled."""
        self.failures += 1
        if self.cancel.is_set():
            raise Cancelled("the transfer was cancelled") from error
        if self.failures >= self.policy.attempts:
            if isinstance(error, SourceUnavailable):
                raise error
            raise SourceUnavailable(f"{what}: {error}") from error
        if self.cancel.wait(self.policy.wait_s(self.failures, error)):
            raise Cancelled("the transfer was cancelled") from error


def with_retries(work: Callable[[], T], *, policy: RetryPolicy, cancel: threading.Event, what: str) -> T:
    """Do ``work`` until it succeeds, fails for good, or tries are used up."""
    retries = Retries(policy, cancel)
    while True:
        try:
            return work()
        except TRANSIENT as error:
            retries.pause(error, what=what)
