"""Upgrades of databases that earlier versions made, from frozen dumps."""
