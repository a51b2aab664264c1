"""Machines and lines to test against: a real sshd (`fakehost`), a bad line (`faultproxy`), a long one (`wan`)."""
