"""The cluster's brain: groups, plan, gates, readiness, admission webhook and credential broker."""
