"""Inside tests: exact winding numbers by ray crossings, and an independent check by solid angles."""
