"""Probe a run's model as ``yolofuse probe`` does: log its tables, write probe.json and probe.png."""

from __future__ import annotations

import logging
from pathlib import Path

from yolofuse.config import Config
from yolofuse.distributed.ranks import Ranks, pick_device
from yolofuse.engine.build import TrainContext, build_context
from yolofuse.engine.diagnostics.init_probe import Probe, probe
from yolofuse.engine.diagnostics.probe_plot import save_probe_plot
from yolofuse.engine.evaluate_split import evaluate_split
from yolofuse.errors import plural
from yolofuse.files import save_json
from yolofuse.tables import text_table
from yolofuse.viz.axes import drawing

log = logging.getLogger("yolofuse")


def probe_run(config: Config, folder: Path, *, modules: bool = False, num_batches: int = 1) -> Probe:
    """Measure the model of a run before training, log the result and write it into a folder.

    Args:
        config: The run; its folder is not touched.
        folder: Where probe.json and probe.png go.
        modules: Log a line for each layer instead of one for each part.
        num_batches: How many batches to measure.
    """
    context = build_context(config, Ranks(0, 1, pick_device(config.train.device)))  # it prints the weights report
    if modules and context.weights_report is not None:
        log.info("%s", context.weights_report.format(modules=True))
    result = probe(context, num_batches)
    log.info("%s", _format(result, modules))
    start = _score_start(context)
    save_json(folder / "probe.json", result.plain() | ({"start": start} if start else {}), indent=1)
    with drawing(folder / "probe.png"):
        save_probe_plot(result, _title(config), folder / "probe.png")
    log.info("probe.json and probe.png in %s", folder)
    return result


def _score_start(context: TrainContext) -> dict[str, float | None]:
    """Evaluate the model as it is loaded, where training would do so; return the metrics, or nothing."""
    if context.config.train.score_start is not True:
        return {}
    evaluation = evaluate_split(context.ema.ema, context.val_pairs, context.config, context.ranks, with_slices=False)
    assert evaluation is not None  # a single process
    scores = evaluation.result.scores()
    if scores["AP"] is not None:
        where = f"the {plural(len(context.val_pairs), 'pair')} of {context.config.data.val_split}"
        log.info("before training: AP %.4f, AP50 %.4f on %s", scores["AP"], scores["AP50"], where)
    return scores


def _title(config: Config) -> str:
    model = config.model
    wiring = f"{model.cut}, {model.fusion_label}" if model.streams == "both" else f"{model.streams} only"
    norm = ", without BatchNorm" if model.norm == "none" else ""
    rules = f" and {len(config.init.rules)} rules" if config.init.rules else ""
    return f"{model.base} {wiring}{norm}, init {config.init.preset}{rules}"


def _format(result: Probe, modules: bool) -> str:
    losses = result.losses
    terms = ", ".join(f"{name} {value:.3f} ({losses.predicted[name]:.3f})" for name, value in losses.first.items())
    total = f"total {sum(losses.first.values()):.3f} ({sum(losses.predicted.values()):.3f})"
    lines = [_layer_table(result) if modules else _part_table(result), ""]
    lines.append(f"first loss (at the prior): {terms}, {total}")
    for name, ratio in result.gradient_ratio.items():
        lines.append(f"gradient of {name} over that of the head's last layers: {ratio:.3g}")
    lines.append(f"fp16 was measured {'under autocast' if result.fp16 == 'autocast' else 'by casting fp32 values'}")
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"finding: {finding.text}" for finding in result.findings]
    return "\n".join([*lines, f"verdict: {result.verdict}"])


def _part_table(result: Probe) -> str:
    rows = [["part", "layers", "std", "gradient RMS", "dead"]]
    for part in dict.fromkeys(layer.part for layer in result.layers):
        layers = [layer for layer in result.layers if layer.part == part]
        stds = [layer.std for layer in layers if layer.judged]
        gradients = [layer.grad_rms for layer in layers if layer.grad_rms is not None]
        dead = [layer.dead for layer in layers if layer.dead is not None]
        mean_dead = f"{sum(dead) / len(dead):.1%}" if dead else ""
        rows.append([part, str(len(layers)), _range(stds), _range(gradients), mean_dead])
    return text_table(rows)


def _layer_table(result: Probe) -> str:
    rows = [["layer", "kind", "mean", "std", "eval std", "gradient RMS", "dead"]]
    for layer in result.layers:
        values = (layer.mean, layer.std, layer.eval_std, layer.grad_rms)
        cells = ["" if value is None else f"{value:.3g}" for value in values]
        rows.append([layer.name, layer.kind, *cells, "" if layer.dead is None else f"{layer.dead:.1%}"])
    return text_table(rows)


def _range(values: list[float]) -> str:
    return f"{min(values):.2g} .. {max(values):.2g}" if values else ""
