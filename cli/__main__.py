"""`python -m modpm.cli`, which `accelerate launch -m modpm.cli` uses too."""

import sys

from modpm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
