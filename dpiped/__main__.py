"""`python -m dpiped`."""

import sys

from dpiped.cli import main

if __name__ == "__main__":
    sys.exit(main())
