"""Run the command line: ``python -m superface_hf`` does the same as ``superface``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
