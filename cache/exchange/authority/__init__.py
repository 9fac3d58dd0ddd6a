"""Who may read what from a peer: keys that nodes prove themselves with, and capabilities that say what they may have.

A node is known by the hash of its public key, never by an address or a name. Knows nothing of who signs and why: in a
cluster the controller does, in a stand-alone group the members share one key.
"""
