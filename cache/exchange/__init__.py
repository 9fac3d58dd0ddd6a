"""The cohort exchange: the members of a cohort pull one tree together, for one copy from its source.

What is decided here is pure: frozen values in, frozen values out, no clock and no socket, so that agents, simulation
and property tests run the very same code. The rules and the numbers behind them: docs/decisions/.
"""
