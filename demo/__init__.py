"""`make demo`: a group of four warms from a slow registry, on one machine, without a cluster or root."""
