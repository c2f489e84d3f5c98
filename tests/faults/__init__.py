"""A disk that fails when a test says so: shim.c is loaded into real processes, `Shim` tells it what to do."""
