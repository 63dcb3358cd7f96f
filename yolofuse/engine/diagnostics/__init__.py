"""Look into a model while it trains: activations, gradients, first losses, and where the time goes."""
