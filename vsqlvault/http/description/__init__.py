"""The description of the HTTP API: OpenAPI document and docs page."""
