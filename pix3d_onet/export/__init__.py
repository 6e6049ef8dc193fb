"""A data set in the formats of other projects: `onet export`."""
