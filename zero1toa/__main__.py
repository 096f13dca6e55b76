"""Run the command line as `python -m zero1toa`."""

import sys

from zero1toa.cli import main

if __name__ == "__main__":
    sys.exit(main())
