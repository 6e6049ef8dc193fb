"""`onet evaluate`: metrics of networks and baselines over a split."""
