"""From a detector's raw output to figures and pictures: decode, merge, score with cocoapi, report, draw."""
