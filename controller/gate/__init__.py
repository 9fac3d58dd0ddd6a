"""Holds a group's pods until its nodes are warm, then lets them go together; never for longer than they can wait."""
