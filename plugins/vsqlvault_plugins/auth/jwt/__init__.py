"""JSON Web Tokens of issuers that the settings name, with the keys that those issuers publish."""
