"""Read both images of a pair as one array."""
