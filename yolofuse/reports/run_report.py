"""Write the report of a run: one page of HTML, from whatever is there of its files, data and detector."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from yolofuse.config.load import flat_options
from yolofuse.errors import YolofuseError
from yolofuse.files import check_output_file, save_text
from yolofuse.html.render import render_page
from yolofuse.reports import eval_sections, run_sections
from yolofuse.reports.run_files import RunFiles
from yolofuse.reports.sections import Page, attempt
from yolofuse.run.status_summary import summarise_run
from yolofuse.tables import format_duration
from yolofuse.types import CHANNELS

log = logging.getLogger("yolofuse")

SIGN = "<title>Run "
"""Text by which a report is recognised."""


def write_run_report(
    run: Path, out: Path | None = None, *, data: Path | None = None, split: str | None = None, quick: bool = False
) -> Path:
    """Write the report of a run; return its path.

    The run is evaluated first if that was not done yet. What is missing is said on the page.

    Args:
        run: The run's folder.
        out: The file; by default ``report.html`` in the run's folder.
        data: Descriptor of the data set, where it has moved.
        split: Name of the split; by default the config's ``data.val_split``.
        quick: Leave out what needs the detector to run: an evaluation, what each camera contributes, heat maps.

    Raises:
        ConfigError: If the file is somebody else's.
        RunError: If there is no run.
    """
    files = RunFiles(run, data=data, split=split)
    out = out or files.folder.path / "report.html"
    check_output_file(out, SIGN)
    flat_options(files.config)  # no page of a folder that is no run
    if not quick:
        try:
            files.evaluate_if_needed([*CHANNELS] if files.config.model.streams == "both" else [])
        except (YolofuseError, OSError) as error:
            log.warning("warning: not evaluated: %s", error)
    save_text(out, render_page("yolofuse.reports", "page.html.j2", page=_page(files, quick=quick)))
    log.info("report in %s", out)
    return out


def _page(files: RunFiles, *, quick: bool) -> Page:
    builders = (
        ("metrics", "Metrics", partial(eval_sections.metrics_section, files)),
        ("classes", "Classes", partial(eval_sections.classes_section, files)),
        ("cameras", "What each camera contributes", partial(eval_sections.cameras_section, files, may_run=not quick)),
        ("curves", "Training curves", partial(run_sections.curves_section, files)),
        ("pairs", "Best and worst pairs", partial(eval_sections.pairs_section, files)),
        ("heat", "Heat maps", partial(eval_sections.heat_section, files, may_run=not quick)),
        ("data", "Data set", partial(run_sections.data_section, files)),
        ("config", "Config", partial(run_sections.config_section, files)),
        ("weights", "Start weights", partial(run_sections.weights_section, files)),
        ("environment", "Environment", partial(run_sections.environment_section, files)),
    )
    sections = [attempt(key, title, build) for key, title, build in builders]
    return Page("Run", files.name, _subtitle(files), _figures(files), _warnings(files), sections)


def _subtitle(files: RunFiles) -> str:
    model = files.config.model
    streams = f"cut {model.cut}, fusion {model.fusion_label}" if model.streams == "both" else f"{model.streams} alone"
    return f"{model.base}, {streams}, {files.config.train.imgsz} px, {files.config.data.descriptor} [{files.split}]"


def _figures(files: RunFiles) -> list[tuple[str, str]]:
    figures: list[tuple[str, str]] = []
    try:
        result = files.report.result
        figures += [(name, "-" if value < 0 else f"{value:.4f}") for name, value in list(result.metrics().items())[:3]]
        if files.report.ms_per_pair is not None:
            figures.append(("ms per pair", f"{files.report.ms_per_pair:.1f}"))
    except (YolofuseError, OSError):
        pass  # its section says why
    try:
        summary = summarise_run(files.folder.path)
        figures.append(("state", summary.state))
        if summary.status is not None:
            figures.append(("epochs", f"{summary.status.epoch} of {summary.status.epochs}"))
        seconds = sum(row.get("seconds") or 0.0 for row in files.folder.read_results())
        if seconds:
            figures.append(("training", format_duration(seconds)))
    except (YolofuseError, OSError):
        pass
    return figures


def _warnings(files: RunFiles) -> list[str]:
    try:
        return files.evaluation_warnings
    except (YolofuseError, OSError):
        return []
