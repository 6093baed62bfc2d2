"""``vsql-vault import``: its sources, and the run over one of them."""
