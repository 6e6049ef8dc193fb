"""`onet prepare`: from a source to a finished data set."""
