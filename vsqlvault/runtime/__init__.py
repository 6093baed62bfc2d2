"""The composition root: settings and plugins go in, a running vault comes out."""

from vsqlvault.runtime.application import create_app
from vsqlvault.runtime.background import background
from vsqlvault.runtime.contained_loop import loop_name, server_loop
from vsqlvault.runtime.exports import log_sinks
from vsqlvault.runtime.freed_memory import return_large_blocks
from vsqlvault.runtime.lifecycle import (
    migrate_at_start,
    migrated,
    open_storage,
    open_vault,
    planned,
    storage_of,
    was_signed,
)
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
    "log_sinks",
    "loop_name",
    "migrate_at_start",
    "migrated",
    "open_storage",
    "open_vault",
    "planned",
    "return_large_blocks",
    "run_to_end",
    "server_loop",
    "storage_of",
    "was_signed",
]
