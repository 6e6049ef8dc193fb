"""Render meshes: a z-buffer rasteriser, cameras, previews."""
