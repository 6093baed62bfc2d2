"""Access policies written in Cedar, https://docs.cedarpolicy.com."""

from vsqlvault_access_cedar.evaluator import CedarEvaluator

__all__ = ["CedarEvaluator"]
