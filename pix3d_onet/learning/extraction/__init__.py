"""From a network and a picture to a mesh."""
