"""Objects: buckets, web servers and whatever fsspec has a driver for. They publish no sha256.

What fixes the bytes instead: a version (an ETag, a generation, a time) pins what is read in one pull, and the first
verified ingest of a version fixes its sha256 for all later ones (cache.store.places).
"""
