"""Archives of the log: their files, the rows that stay, the drop of the others, and reading both as one log."""
