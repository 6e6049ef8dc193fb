"""Compiled inner loops of watertighting; each has a slow NumPy reference in the tests."""
