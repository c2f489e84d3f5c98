"""What an event costs: `./dev bench`. CPU seconds of one process per million events, as a ratio to a plain loop (R)."""
