"""Make .venv and everything in it: `make setup`, or `python3 scripts/setup_environment`.

Kept to syntax that any Python 3 reads, so that a wrong version is told so instead of meeting a SyntaxError.
"""

import sys

OLDEST, NEWEST = (3, 10), (3, 13)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "setup: {} is Python {}.{}, but the ROS 2 wheels exist for CPython 3.10 to 3.13 only.\n"
        "       Install one of these (Debian 12: apt-get install python3 python3-venv python3-dev)\n"
        "       and run: make setup PYTHON=python3.11".format(sys.executable, *sys.version_info[:2])
    )

from steps import main  # noqa: E402

sys.exit(main())
