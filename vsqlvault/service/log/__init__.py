"""The transparency log: sequencing, signing, reading, verification."""
