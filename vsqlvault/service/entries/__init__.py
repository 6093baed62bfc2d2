"""Entries: store, retrieve, inspect, list, purge."""
