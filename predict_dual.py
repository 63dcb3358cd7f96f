"""Detect objects in pairs: ``python predict_dual.py --weights runs/mine --rgb photos/rgb --ir photos/ir``."""

import sys

from yolofuse.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
