"""Read the images of a pair as one array."""
