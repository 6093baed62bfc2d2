"""Anchors, which store checkpoints of the transparency log outside of the database."""
