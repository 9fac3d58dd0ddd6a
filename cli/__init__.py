"""The commands. They parse, wire and print; the work is done by the parts they call."""
