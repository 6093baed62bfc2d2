"""What the vault answers, as frozen types."""
