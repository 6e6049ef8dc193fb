"""Download a data set's release, unpack it and check it: `onet download`."""
