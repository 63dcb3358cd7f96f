"""Everything on disk about one run: folder, lock, status, events, checkpoints."""
