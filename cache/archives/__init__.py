"""Tar layers, packed or not: read strictly as they stream, in bounded memory, and taken into the store."""
