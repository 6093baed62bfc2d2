"""Purge methods."""
