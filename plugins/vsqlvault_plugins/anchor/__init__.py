"""Places outside the database where checkpoints of the transparency log are kept."""
