"""Variants, plans and stored runs: `onet bench`."""
