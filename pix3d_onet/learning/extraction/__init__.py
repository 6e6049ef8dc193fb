"""A network and a picture to a mesh."""
