"""The compliance report as an HTML page."""
