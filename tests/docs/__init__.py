"""The generator behind `./dev docs`: all files that are made of the models and of the lists in the code."""
