"""Signed checkpoints of the transparency log as commits of a git repository."""

from vsqlvault_anchor_git.hooks import plugin

__all__ = ["plugin"]
