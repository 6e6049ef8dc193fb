"""Looking at a finished data set: `onet verify` and `onet inspect`."""
