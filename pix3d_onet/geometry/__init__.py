"""Meshes, watertighting, labels, rendering: the only room that imports trimesh, Open3D, pymeshfix and numba."""

from pix3d_onet.geometry.compiled_code import choose_cache

choose_cache()
