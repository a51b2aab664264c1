"""What tests run against; tests/README.md lists the rigs."""
