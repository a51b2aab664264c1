"""The code that runs on a host, in `onhost/<hash>`: standard library only, Python 3.8 syntax."""
