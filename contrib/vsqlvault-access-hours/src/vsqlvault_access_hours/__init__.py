"""Access policies that allow retrieving only during office hours."""

from vsqlvault_access_hours.evaluator import OfficeHoursEvaluator
from vsqlvault_access_hours.hours import OfficeHours

__all__ = ["OfficeHours", "OfficeHoursEvaluator"]
