"""Watertighting: methods that turn any mesh into a closed one."""
