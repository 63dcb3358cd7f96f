"""All drawing: plots, and images with boxes. Arrays and paths in, files out."""
