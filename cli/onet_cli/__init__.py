"""The command line of onet."""
