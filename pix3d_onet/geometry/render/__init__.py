"""Pictures of meshes: a z-buffer rasteriser, cameras, previews."""
