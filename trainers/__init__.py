"""The trainers: one engine, one folder a model. Runs on the host and needs nothing of the client."""
