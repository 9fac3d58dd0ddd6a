"""R31: what thousands of nodes that want the same at once do to one registry. Simulated: no time passes."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from api.errors import RateLimited, SourceUnavailable
from cache.http.retry import RetryPolicy

CLIENTS = 5000


@dataclass
class Crowd:
    """Clients that all ask at the same moment. The registry answers ``per_second`` of them; the others get a 429 with
    ``retry_after_s``, or a 503 without."""

    per_second: int
    retry_after_s: float | None
    asked: Counter[float] = field(default_factory=Counter)  # requests in each tenth of a second
    given_up: int = 0
    last_s: float = 0.0

    def run(self, policy: RetryPolicy, *, seed: int) -> Crowd:
        draw = random.Random(seed).random
        coming = [(draw() * 0.05, 0, client) for client in range(CLIENTS)]
        served: Counter[int] = Counter()
        heapq.heapify(coming)
        while coming:
            at_s, failures, client = heapq.heappop(coming)
            self.asked[int(at_s * 10) / 10] += 1
            if served[int(at_s)] < self.per_second:
                served[int(at_s)] += 1
                self.last_s = at_s
            elif failures + 1 >= policy.attempts:
                self.given_up += 1
            else:
                wait_s = policy.wait_s(failures + 1, self.refusal(), draw=draw)
                heapq.heappush(coming, (at_s + wait_s, failures + 1, client))
        return self

    def refusal(self) -> SourceUnavailable:
        if self.retry_after_s is None:
            return SourceUnavailable("busy")
        return RateLimited("slow down", retry_after_s=self.retry_after_s)

    def busiest(self, *, after_s: float) -> int:
        """Most requests within a tenth of a second, later than the first rush."""
        return max(count for at_s, count in self.asked.items() if at_s >= after_s)


@pytest.mark.parametrize("retry_after_s", [1.0, 10.0, 60.0])
def test_r31_whoever_is_told_when_to_come_back_comes_not_before_and_not_all_at_once(retry_after_s: float) -> None:
    crowd = Crowd(per_second=1000, retry_after_s=retry_after_s).run(RetryPolicy(), seed=1)
    early = sum(count for at_s, count in crowd.asked.items() if 0.1 <= at_s < retry_after_s)
    assert early == 0
    assert crowd.busiest(after_s=0.1) < CLIENTS / 3
    assert crowd.given_up == 0


def test_r31_without_a_word_from_the_registry_the_crowd_spreads_by_itself() -> None:
    crowd = Crowd(per_second=500, retry_after_s=None).run(RetryPolicy(), seed=2)
    assert crowd.busiest(after_s=1.0) < CLIENTS / 5
    assert sum(crowd.asked.values()) < 6 * CLIENTS


def test_r31_the_same_crowd_without_jitter_stays_a_crowd() -> None:
    """The measure has teeth."""
    crowd = Crowd(per_second=1000, retry_after_s=10.0).run(RetryPolicy(jitter=0.0), seed=1)
    assert crowd.busiest(after_s=0.1) > CLIENTS / 3
