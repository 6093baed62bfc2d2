"""Measures the vault beside other servers over HTTP."""
