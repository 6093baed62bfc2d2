"""HTML pages by Jinja2 templates: escaped, without scripts, under a strict Content-Security-Policy."""
