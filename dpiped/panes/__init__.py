"""Panes and windows: what the filters `aggregate` and `merge` are made of."""

from dpiped.panes.answers import Span
from dpiped.panes.config import GroupedConfig, WindowConfig
from dpiped.panes.periods import CalendarPeriods, FixedPeriods, Periods
from dpiped.panes.shape import OTHER
from dpiped.panes.windowed import Parts, WindowedFilter
from dpiped.panes.wire import PaneError, PaneShape, decode_pane, encode_pane

__all__ = [
    "OTHER",
    "CalendarPeriods",
    "FixedPeriods",
    "GroupedConfig",
    "PaneError",
    "PaneShape",
    "Parts",
    "Periods",
    "Span",
    "WindowConfig",
    "WindowedFilter",
    "decode_pane",
    "encode_pane",
]
