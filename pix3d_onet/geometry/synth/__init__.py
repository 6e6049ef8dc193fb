"""Generate procedural furniture in the Pix3D layout."""
