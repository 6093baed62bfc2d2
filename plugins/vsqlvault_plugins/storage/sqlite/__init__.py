"""The SQLite storage, for a laptop, a test, or one small server."""
