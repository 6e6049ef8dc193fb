"""What this machine has: the checks of `onet doctor`, free cores and threads. Standard library only."""
