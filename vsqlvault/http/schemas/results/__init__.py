"""The response bodies of the routes, as pydantic models: the OpenAPI document is made from them."""
