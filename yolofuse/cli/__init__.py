"""Provide the commands, a module each with ``main(argv) -> exit code``."""
