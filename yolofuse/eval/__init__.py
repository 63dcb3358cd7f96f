"""Evaluate detections: postprocess a detector's output, fuse two detectors, compute COCO metrics, write reports."""
