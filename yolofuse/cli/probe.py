"""Run ``yolofuse probe``: check a model on a run's first batch before training it."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.config import load_config
from yolofuse.engine.early_checks import check_early
from yolofuse.files import check_output_folder

_FINDINGS = 1


def main(argv: list[str] | None = None, prog: str = "yolofuse probe") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s --cfg FILE [section.key=value ...] [--out FOLDER] [--modules] [--batches N] [--strict]",
        description="Measure activations, gradients and the first loss of a run on a real batch, without training.",
    )
    parser.add_argument("--cfg", type=Path, metavar="FILE", required=True, help="the run's config YAML")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="output folder (default: train.run plus -probe)")
    parser.add_argument("--modules", action="store_true", help="print a line for each layer")
    parser.add_argument("--batches", type=int, default=1, metavar="N", help="how many batches to measure")
    parser.add_argument("--strict", action="store_true", help=f"exit with code {_FINDINGS} unless the model is healthy")
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if args.batches < 1:
        parser.error("--batches: must be at least 1")
    findings: list[str] = []

    def command() -> None:
        config = load_config(args.cfg, overrides)
        folder = args.out or Path(f"{config.train.run.rstrip('/')}-probe")
        check_output_folder(folder, "probe.json", '"verdict":')
        check_early(config)
        from yolofuse.engine.diagnostics.probe_run import probe_run  # loads torch: no error of the config waits for it

        result = probe_run(config, folder, modules=args.modules, num_batches=args.batches)
        findings.extend(finding.text for finding in result.findings)

    code = run_command(command)
    return _FINDINGS if args.strict and findings else code


if __name__ == "__main__":
    sys.exit(run_as_module(main))
