"""Train a detector: ``python train_dual.py --cfg configs/llvip/mid.yaml``."""

import sys

from yolofuse.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
