"""Storages. The backends share the SQL files and the migrations of schemas, and nothing else."""
