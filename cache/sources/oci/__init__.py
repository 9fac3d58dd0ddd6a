"""Models in OCI registries: ModelPack artifacts and plain ORAS artifacts."""
