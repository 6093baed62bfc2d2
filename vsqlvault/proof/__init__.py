"""Canonical forms, hashes and signatures that anyone can recompute. No I/O."""
