"""What the program says about itself: events (log line and metric in one), and all metric names in one list."""

from dpiped.telemetry.events import Event
from dpiped.telemetry.metrics import Metrics
from dpiped.telemetry.telemetry import Telemetry

__all__ = ["Event", "Metrics", "Telemetry"]
