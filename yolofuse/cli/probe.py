"""``python -m yolofuse.cli.probe``: look at a run's first batch before training it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.config import Config, load_config
from yolofuse.distributed.ranks import Ranks, pick_device
from yolofuse.engine.build import build_context
from yolofuse.engine.diagnostics.init_probe import Probe, probe
from yolofuse.engine.diagnostics.thresholds import LayerFigures
from yolofuse.errors import ConfigError
from yolofuse.files import save_json
from yolofuse.viz.probe import LayerPoint, save_probe_plot

log = logging.getLogger("yolofuse")

_FINDINGS = 1


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        prog="probe",
        usage="%(prog)s --cfg FILE [section.key=value ...] [--out FOLDER] [--modules] [--batches N] [--strict]",
        description="Measure activations, gradients and the first loss of a run on a real batch, without training.",
    )
    parser.add_argument("--cfg", type=Path, metavar="FILE", required=True, help="the run's YAML")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; default: the run's, with -probe")
    parser.add_argument("--modules", action="store_true", help="a line for each layer")
    parser.add_argument("--batches", type=int, default=1, metavar="N", help="how many batches to look at")
    parser.add_argument("--strict", action="store_true", help=f"exit code {_FINDINGS} unless healthy")
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if args.batches < 1:
        parser.error("--batches: must be at least 1")
    found: list[Probe] = []

    def command() -> None:
        config = load_config(args.cfg, overrides)
        folder = args.out or Path(f"{config.train.run.rstrip('/')}-probe")
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--out: {folder} is a file; name a folder")
        found.append(_run(config, folder, modules=args.modules, num_batches=args.batches))

    code = run_command(command)
    return _FINDINGS if args.strict and found and found[0].findings else code


def _run(config: Config, folder: Path, *, modules: bool, num_batches: int) -> Probe:
    session = build_context(config, Ranks(0, 1, pick_device(config.train.device)))  # it prints the weights report
    if modules and session.weights_report is not None:
        log.info("%s", session.weights_report.format(modules=True))
    result = probe(session, num_batches)
    log.info("%s", _format(result, modules))
    save_json(folder / "probe.json", result.plain(), indent=1)
    alarms = [{name for f in result.findings if f.of_gradient == gradient for name in f.layers} for gradient in (0, 1)]
    points = [
        LayerPoint(
            la.name,
            la.part,
            la.std if la.judged else None,
            la.eval_std,
            la.grad_rms,
            *(la.name in names for names in alarms),
        )
        for la in result.layers
    ]
    losses, picture = result.losses, folder / "probe.png"
    save_probe_plot(points, losses.first, losses.predicted, _title(config), result.verdict, picture)
    log.info("probe.json and probe.png in %s", folder)
    return result


def _title(config: Config) -> str:
    model = config.model
    wiring = f"{model.cut}, {model.fusion_label}" if model.streams == "both" else f"{model.streams} only"
    bare = ", without BatchNorm" if model.norm == "none" else ""
    rules = f" and {len(config.init.rules)} rules" if config.init.rules else ""
    return f"{model.base} {wiring}{bare}, init {config.init.preset}{rules}"


def _format(result: Probe, modules: bool) -> str:
    lines = [*(_layer_table(result) if modules else _part_table(result)), ""]
    losses = result.losses
    lines.append("first loss (at the prior): " + ", ".join(
        f"{name} {value:.3f} ({losses.predicted[name]:.3f})" for name, value in losses.first.items()
    ) + f", total {sum(losses.first.values()):.3f} ({sum(losses.predicted.values()):.3f})")  # fmt: skip
    for name, ratio in result.gradient_ratio.items():
        lines.append(f"gradient of {name} over that of the head's last layers: {ratio:.3g}")
    lines.append(f"fp16 was measured {'under autocast' if result.fp16 == 'autocast' else 'by casting fp32 figures'}")
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"finding: {finding.text}" for finding in result.findings]
    return "\n".join([*lines, f"verdict: {result.verdict}"])


def _part_table(result: Probe) -> list[str]:
    lines = [f"{'part':<8}{'layers':>7}{'spread':>20}{'gradient RMS':>20}{'dead':>7}"]
    for part in dict.fromkeys(layer.part for layer in result.layers):
        inside = [layer for layer in result.layers if layer.part == part]
        spreads = [layer.std for layer in inside if layer.judged]
        gradients = [layer.grad_rms for layer in inside if layer.grad_rms is not None]
        dead = [layer.dead for layer in inside if layer.dead is not None]
        share = f"{sum(dead) / len(dead):.1%}" if dead else ""
        lines.append(f"{part:<8}{len(inside):>7}{_range(spreads):>20}{_range(gradients):>20}{share:>7}")
    return lines


def _layer_table(result: Probe) -> list[str]:
    width = max(len(layer.name) for layer in result.layers) + 2
    titles = ("mean", "spread", "eval spread", "gradient RMS", "dead")
    lines = [f"{'layer':<{width}}{'kind':<14}" + "".join(f"{title:>13}" for title in titles)]
    return lines + [_layer_row(layer, width) for layer in result.layers]


def _layer_row(layer: LayerFigures, width: int) -> str:
    figures = (layer.mean, layer.std, layer.eval_std, layer.grad_rms)
    cells = ["" if value is None else f"{value:.3g}" for value in figures]
    cells.append("" if layer.dead is None else f"{layer.dead:.1%}")
    return f"{layer.name:<{width}}{layer.kind:<14}" + "".join(f"{cell:>13}" for cell in cells)


def _range(values: list[float]) -> str:
    return f"{min(values):.2g} .. {max(values):.2g}" if values else ""


if __name__ == "__main__":
    sys.exit(main())
