"""Sections of the compliance report."""
