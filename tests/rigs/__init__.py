"""Machines and lines to test against: a real sshd, a bad line, a long one."""
