"""Compiled inner loops of the mesh readers; each has a slow NumPy reference in the tests."""
