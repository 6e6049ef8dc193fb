"""Meshes, watertighting, rendering, procedural furniture. Geometry libraries and numba are imported only here."""
