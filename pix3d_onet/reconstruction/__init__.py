"""`onet reconstruct`: a photo to a mesh."""
