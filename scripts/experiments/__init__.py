"""Train and compare models on real and generated data; each module or package is a command."""
