"""A picture file and its mask to the object on white, in a square."""
