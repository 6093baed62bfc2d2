"""The only room that knows a web framework: bytes come in, values go down, bytes go out."""
