"""OCI registries: manifests, authentication, blobs and archives."""
