"""Audit rows: made, committed and read here."""
