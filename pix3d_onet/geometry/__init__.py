"""Meshes, watertighting, rendering, procedural furniture. Geometry libraries and numba are imported only here."""

from pix3d_onet.geometry.compiled_code import choose_cache

choose_cache()
