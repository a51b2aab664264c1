"""`python -m gpujob`: the same as the command `gpujob`."""

from orchestrator.cli import script

if __name__ == "__main__":
    script()
