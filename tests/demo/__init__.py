"""The demonstration behind `./dev demo`: the whole road on one machine, on embedded parts."""
