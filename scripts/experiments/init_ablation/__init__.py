"""Compare initialisation policies over several seeds."""
