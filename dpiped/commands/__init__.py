"""The commands of `dpiped`, one file for each group; a command is a function of its arguments and returns the status."""
