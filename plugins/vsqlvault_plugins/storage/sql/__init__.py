"""What only reads, for SQLite and PostgreSQL alike: named queries, decoders of rows, and the pages that are made of them."""
