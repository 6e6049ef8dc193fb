"""Meshes, watertighting, labels, rendering: the only room that imports trimesh, Open3D, pymeshfix and numba."""
