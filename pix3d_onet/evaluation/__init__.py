"""Score networks and baselines on a split: `onet evaluate`."""
