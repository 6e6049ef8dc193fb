"""Compiled inner loops of the inside test; each has a slow NumPy reference in the tests."""
