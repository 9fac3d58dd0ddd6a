"""Kubernetes objects read into plain facts, and values written as its API writes them. Pure."""
