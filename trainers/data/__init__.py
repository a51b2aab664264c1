"""Readers and preparation of data that several trainers share. Imports nothing of trainers.tasks."""
