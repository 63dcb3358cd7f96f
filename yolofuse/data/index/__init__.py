"""Find and check every file of a split before epoch 0."""
