"""The checks of ``onet doctor``: what is installed, and whether the pipeline runs on a small test case."""
