"""Export a detector: ``python export_dual.py --run runs/llvip-mid --format onnx``."""

import sys

from yolofuse.cli.export import main

if __name__ == "__main__":
    sys.exit(main(prog="export_dual.py"))
