"""Any machine that a user can log in to."""
