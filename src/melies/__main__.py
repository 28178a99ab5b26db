"""`python -m melies` is the command `melies`."""

import sys

from melies.cli.main import main

sys.exit(main())
