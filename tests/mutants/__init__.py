"""Seeded faults: each must be killed by a test."""
