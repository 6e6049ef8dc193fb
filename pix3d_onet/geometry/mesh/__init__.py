"""Triangle meshes: reading, cleaning, topology, labels by rays, sampling, simplification, writing."""
