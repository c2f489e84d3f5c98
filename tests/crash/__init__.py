"""`kill -9` at any moment, and what must be true afterwards: `./dev crash`, and the tests that run it in short."""
