"""Read a paired data set and say what is wrong with it, before a GPU spends a day on it."""
