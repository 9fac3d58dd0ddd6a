"""The Container Storage Interface, v1.13.0: csi.proto as published, and the stubs made from it.

csi.proto is an unchanged copy from https://github.com/container-storage-interface/spec (Apache-2.0). The other
files are generated: `make generate` rewrites them.
"""
