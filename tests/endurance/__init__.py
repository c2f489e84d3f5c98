"""What only shows over time: overload, dead and slow neighbours, reloads, hours. `./dev endure NAME --secs N`."""
