"""The schema command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.plugin_loader import Plugins
from vsqlvault.service.compliance.report_schema import JSON_SCHEMA, report_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of the command."""
    parser.add_argument(
        "of",
        nargs="?",
        choices=("settings", "api", "report"),
        default="settings",
        help="which schema to print; default: settings",
    )


def print_schema(options: argparse.Namespace, read_settings: Callable[[argparse.Namespace], Settings]) -> None:
    """Print a JSON Schema: of the settings, the HTTP API or the report."""
    print(json.dumps(_schema_of(options, read_settings), indent=2, ensure_ascii=False))


def _schema_of(options: argparse.Namespace, read_settings: Callable[[argparse.Namespace], Settings]) -> dict[str, Any]:
    if options.of == "report":
        return report_schema()
    if options.of == "settings":
        return {"$schema": JSON_SCHEMA, **Plugins(read_settings(options)).settings_schema()}
    from vsqlvault.http.description.openapi import build_openapi  # noqa: PLC0415 - only this and serving need Quart
    from vsqlvault.http.operations import OPERATIONS  # noqa: PLC0415

    return build_openapi(OPERATIONS, read_settings(options).auth.api_key_header)
