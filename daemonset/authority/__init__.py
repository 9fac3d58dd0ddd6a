"""Who may use which model on this node: asked from the broker, a pod's own login, or the configuration."""
