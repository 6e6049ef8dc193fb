"""Triangle meshes: reading, cleaning, topology, labels by winding numbers, sampling, simplification, writing."""
