"""Access policies, retention policies and legal holds."""
