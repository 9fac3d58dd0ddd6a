"""A node's content-addressed store: blobs, trees, ingests, pins and records below one root."""
