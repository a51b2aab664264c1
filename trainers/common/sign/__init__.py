"""What the trainers of sign language share: corpus, features, CTC task, checks, sample data."""
