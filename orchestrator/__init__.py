"""The client's part of gpujob. This package file is also sent to hosts, so it imports nothing."""

__version__ = "0.1.0"
