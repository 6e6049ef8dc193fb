"""The self-contained page of a data set, to browse its shapes."""
