"""Panes and windows: what the filter `aggregate` is made of."""

from dpiped.panes.config import WindowConfig
from dpiped.panes.periods import CalendarPeriods, FixedPeriods, Periods
from dpiped.panes.shape import OTHER
from dpiped.panes.sorting import Sorted
from dpiped.panes.windowed import WindowedFilter

__all__ = [
    "OTHER",
    "CalendarPeriods",
    "FixedPeriods",
    "Periods",
    "Sorted",
    "WindowConfig",
    "WindowedFilter",
]
