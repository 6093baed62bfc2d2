"""Access policies whose entries can be retrieved in office hours only."""

from vsqlvault_access_hours.evaluator import OfficeHoursEvaluator
from vsqlvault_access_hours.hours import OfficeHours

__all__ = ["OfficeHours", "OfficeHoursEvaluator"]
