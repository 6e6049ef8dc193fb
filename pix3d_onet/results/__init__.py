"""Variants, runs, the ablation, tables and figures, from stored records alone."""
