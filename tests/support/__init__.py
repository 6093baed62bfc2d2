"""What several suites need: a vault served for real, and a client that can also misbehave."""
