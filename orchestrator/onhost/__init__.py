"""Runs on the host: standard library only, Python 3.8 syntax, kept there as `onhost/<hash>`."""
