"""Format the report of a check as one HTML page with its images embedded: no scripts, nothing from the network."""

from __future__ import annotations

import base64

import cv2
from jinja2 import Environment, PackageLoader, StrictUndefined

from yolofuse.check.findings import Finding, Report, ReportImage

_QUALITY = 85


def format_html(report: Report) -> str:
    """Render the whole page."""
    environment = Environment(
        loader=PackageLoader("yolofuse.check", package_path=""),
        autoescape=True,  # names of files, classes and tags are data: none of them may become HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"affected": _affected, "data_uri": _data_uri}
    return environment.get_template("report.html.j2").render(report=report)


def _affected(finding: Finding) -> str:
    """Format how many are affected: ``3 of 40``, ``3``, or nothing."""
    if not finding.count:
        return ""
    return f"{finding.count} of {finding.total}" if finding.total else str(finding.count)


def _data_uri(image: ReportImage) -> str:
    """Encode an image as a JPEG data URI."""
    done, content = cv2.imencode(".jpg", image.pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
