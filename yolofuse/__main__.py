"""Run ``python -m yolofuse COMMAND``."""

import sys

from yolofuse.cli.main import main

sys.exit(main())
