"""Destinations of exported log rows: a file, HTTP, and syslog over TLS."""
