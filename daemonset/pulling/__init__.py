"""From what the node should hold to what it holds: which pulls start, run, stop, and what makes room."""
