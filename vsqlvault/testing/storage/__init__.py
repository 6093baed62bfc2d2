"""Conformance tests of storage plugins."""
