"""Sign language features and corpora: files, landmarks, augmentation, batches, sample data."""
