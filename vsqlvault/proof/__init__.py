"""Mathematics that a stranger can repeat: canonical forms and the hashes over them. No I/O."""
