"""The output of a training run, readable without torch: its folder, its record, its examples."""
