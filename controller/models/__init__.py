"""Which Models a pod or a WarmSet asks for and may have, and what their references resolve to."""
