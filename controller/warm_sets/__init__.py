"""What a WarmSet asks for, ahead of pods too, and what its status says of it."""
