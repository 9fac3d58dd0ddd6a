"""Kueue (kueue.x-k8s.io): the nodes that its topology-aware scheduling has assigned, and its admission checks."""
