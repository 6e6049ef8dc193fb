"""Compiled inner loops of the renderer; each has a slow NumPy reference in the tests."""
