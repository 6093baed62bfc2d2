"""The HTTP layer: parses requests, calls the services, and writes responses.

Only this package imports the web framework.
"""
