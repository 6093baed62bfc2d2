"""The protocols that plugin authors implement, one file each, with their guarantees in the docstrings."""
