"""The sign language task: landmarks to glosses by CTC."""
