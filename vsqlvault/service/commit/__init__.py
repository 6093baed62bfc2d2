"""The commit queue: batches of reads and commits to the storage."""
