"""Score a detector: ``python val_dual.py --run runs/llvip-mid``."""

import sys

from yolofuse.cli.val import main

if __name__ == "__main__":
    sys.exit(main())
