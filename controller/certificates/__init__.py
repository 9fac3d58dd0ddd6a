"""The controller's own certificate authority, and keeping its certificates and signing keys where they are read."""
