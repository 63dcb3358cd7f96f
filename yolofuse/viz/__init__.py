"""Draw plots and images with boxes. Takes arrays and paths only; knows nothing of data sets, models or metrics."""
