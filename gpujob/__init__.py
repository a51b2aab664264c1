"""gpujob as a library and as `python -m gpujob`."""

from orchestrator import __version__ as __version__
