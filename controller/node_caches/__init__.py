"""What each node should hold, merged and bounded for its NodeCache, and what its agent says it holds."""
