"""The machine: checks of `onet doctor`, usable and free cores, thread counts."""
