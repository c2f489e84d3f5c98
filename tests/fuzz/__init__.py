"""Mutated bytes for everything that reads bytes from outside or from disk: `./dev fuzz [TARGET ..] --secs N`."""
