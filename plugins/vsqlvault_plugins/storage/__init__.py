"""Storages. The backends share how SQL is kept in files and how schemas are migrated, and nothing else."""
