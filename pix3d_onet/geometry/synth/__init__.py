"""Procedural furniture in the Pix3D layout."""
