"""A pod that asks for weights, as it is created: the pod changed, and the objects made that it needs."""
