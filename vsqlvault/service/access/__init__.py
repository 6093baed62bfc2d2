"""Access decisions, and their explanation and replay."""
