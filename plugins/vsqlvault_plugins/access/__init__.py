"""Access-policy evaluators."""
