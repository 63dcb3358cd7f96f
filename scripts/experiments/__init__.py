"""Train and compare models on real and drawn data; each module or package is a command."""
