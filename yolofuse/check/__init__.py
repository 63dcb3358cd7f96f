"""Check a paired data set for errors before it is trained on: files, labels, pixels, registration, duplicates."""
