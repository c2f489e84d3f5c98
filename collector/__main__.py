"""`python -m collector`: the same as `dpipe-collector`."""

import sys

from collector.cli import main

sys.exit(main())
