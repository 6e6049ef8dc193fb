"""What a training run leaves behind, readable without torch: its record, its folder, its examples."""
