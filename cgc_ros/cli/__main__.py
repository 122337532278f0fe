"""`python -m cgc_ros.cli`: the `cgc` command where it is not installed."""

import sys

from cgc_ros.cli import main

sys.exit(main())
