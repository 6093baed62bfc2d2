"""Derives a whole storage from twelve methods: the base class for storages of third parties."""
