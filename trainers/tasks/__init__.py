"""What all classifiers, and all CTC trainers, share: forward, metrics, restore, predict, evaluate, checks."""
