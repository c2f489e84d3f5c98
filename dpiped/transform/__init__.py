"""Steps that change events: what the filter `transform` is made of."""

from dpiped.transform.base import Step, Target
from dpiped.transform.paths import NOTHING
from dpiped.transform.program import Program
from dpiped.transform.sheet import GONE, Sheet
from dpiped.transform.steps import STEPS, AnyStep, mistakes

__all__ = ["GONE", "NOTHING", "STEPS", "AnyStep", "Program", "Sheet", "Step", "Target", "mistakes"]
