"""Which points a mesh goes around: exact winding numbers, and a second judge that shares nothing with them."""
