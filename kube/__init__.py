"""How we talk to a Kubernetes API server: a client and a reflector. Holds no word of Warmset's own."""
