"""One node's content-addressed store of model files, and how bytes get into it. Knows nothing of Kubernetes."""
