"""Find and check all files of a split before epoch 0."""
