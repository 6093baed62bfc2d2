"""Commands that call a running vault by the client. Nothing of the server is imported."""
