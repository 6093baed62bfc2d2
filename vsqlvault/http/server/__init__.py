"""The HTTP server: sockets, TLS, framing, protocols."""
