"""What plugin authors implement: one protocol a file, with its promises in prose."""
