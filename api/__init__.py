"""The vocabulary in code: references, trees, annotation keys, resources, errors.

Imports nothing of ours. Everything that two parts must agree on stands here, once.
"""
