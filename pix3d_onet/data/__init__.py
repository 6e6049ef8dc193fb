"""Files in and out: sources, splits, shards. No geometry, no torch."""
