"""Open and messy meshes to closed ones: the methods and what they share."""
