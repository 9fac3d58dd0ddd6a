"""The work behind each kind of key: read the memory, decide by a pure function, then act. One module a kind.

Every reconcile starts from the present state, never from the event that caused it, and may be run at any time.
"""
