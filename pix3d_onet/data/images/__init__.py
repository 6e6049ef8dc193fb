"""Decode pictures and masks; cut out the object and crop it to a square on white."""
