"""The CSI node driver: the only privileged code, small, and without network."""
