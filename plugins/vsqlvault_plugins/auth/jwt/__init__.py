"""JSON Web Tokens of the issuers in the settings, verified with the keys that the issuers publish."""
