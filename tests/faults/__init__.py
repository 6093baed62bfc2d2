"""Faults of disk and system calls, injected below the storage."""
