"""Hugging Face: a Hub resolves the revision and lists the files; bytes and checks are ours."""
