"""The training package: a shared engine and one folder per trainer. It runs on the host and imports
nothing from the client.
"""
