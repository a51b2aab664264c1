"""Trainings for tests without PyTorch's import of 1.4 CPU seconds each: forked from a process that has it.

`TorchServer` is that process; environment.py makes the Python that hosts of tests run; forward.py is what its
processes do instead of importing PyTorch themselves.
"""
