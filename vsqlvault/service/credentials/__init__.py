"""API keys, the credential inventory, and the rate limit of failed authentication."""
