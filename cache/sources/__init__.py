"""Where models come from: what a reference resolves to, and how its bytes are read."""
