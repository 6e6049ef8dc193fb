"""Check and show a prepared data set: `onet verify` and `onet inspect`."""
