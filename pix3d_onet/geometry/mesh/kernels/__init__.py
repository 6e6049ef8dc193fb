"""Compiled inner loops over meshes; each has a slow NumPy reference in the tests."""
