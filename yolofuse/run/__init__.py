"""Read and write everything on disk about one run: folder, lock, status, events, checkpoints."""
