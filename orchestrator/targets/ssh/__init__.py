"""Targets over SSH: any machine that the user can log in to."""
