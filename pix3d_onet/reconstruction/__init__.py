"""Reconstruct meshes from photos with a trained network: `onet reconstruct`."""
