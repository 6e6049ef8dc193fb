"""The checks behind ``onet doctor``: what this machine has, and whether the whole pipeline runs on it in miniature."""
