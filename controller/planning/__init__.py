"""Which nodes a group's pods should get, and why no other: pure functions of a snapshot."""
