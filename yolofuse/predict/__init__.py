"""Use a trained detector: pairs of images in memory, in files, folders and data sets, to boxes, pictures and files."""
