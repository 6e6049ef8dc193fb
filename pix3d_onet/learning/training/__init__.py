"""`onet train`: batches, the loop, validation, the run folder."""
