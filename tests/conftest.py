"""Settings that hold for every test."""

from __future__ import annotations

from hypothesis import settings

# Other work shares the machine: a slow example is no failure.
settings.register_profile("warmset", deadline=None, max_examples=100)
settings.load_profile("warmset")
