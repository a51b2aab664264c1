"""A simulated EC2: moto as the control plane, with corrections, and a real machine for every instance.

`FakeEC2` (client.py) is what a test holds; everything else runs in a process of its own (server.py), in PID
and mount namespaces of its own, so that the kernel ends all of it when that process or the test dies.
"""
