"""One plugin of each kind, as docs/plugins.md shows it and ``vsql-vault new-plugin`` writes it."""
