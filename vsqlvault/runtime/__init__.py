"""The composition root: settings and plugins go in, a running vault comes out."""

from vsqlvault.runtime.application import create_app
from vsqlvault.runtime.background import background
from vsqlvault.runtime.lifecycle import migrated, open_storage, open_vault
from vsqlvault.runtime.running import leave, run_to_end
from vsqlvault.runtime.sandbox import check_reach, harden
from vsqlvault.runtime.tuning import Tuning

__all__ = [
    "Tuning",
    "background",
    "check_reach",
    "create_app",
    "harden",
    "leave",
    "migrated",
    "open_storage",
    "open_vault",
    "run_to_end",
]
