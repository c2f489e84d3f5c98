"""The commands of `dpiped`, one file for each group; a command is a function that returns the exit status."""
