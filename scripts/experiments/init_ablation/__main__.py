"""Run the ablation from the command line."""

import sys

from scripts.experiments.init_ablation.ablate import main

if __name__ == "__main__":
    sys.exit(main())
