"""Variants, plans and stored runs of the ablation: `onet bench`."""
