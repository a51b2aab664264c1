"""One file a verb; each gives a function that returns an exit code."""
