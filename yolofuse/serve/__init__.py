"""A page on this machine on which a pair of images is dropped and its detections are shown."""
