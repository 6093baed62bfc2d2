"""The wire, over a real socket: exact answers to bad input."""
