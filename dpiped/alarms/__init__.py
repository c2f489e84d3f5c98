"""What the filter `alarm` is made of."""

from dpiped.alarms.config import AlarmConfig
from dpiped.alarms.filter import AlarmingFilter

__all__ = ["AlarmConfig", "AlarmingFilter"]
