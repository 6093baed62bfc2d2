"""The use cases of a vault, independent of HTTP and the command line."""
