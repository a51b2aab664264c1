"""Base classes of trainers: classifiers and CTC, with their metrics, prediction, evaluation and checks."""
