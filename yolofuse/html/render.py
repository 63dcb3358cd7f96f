"""Render a template, and encode what a page shows as data URIs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import cv2
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from yolofuse.tables import numeric_columns
from yolofuse.types import ByteArray
from yolofuse.viz.axes import figure_to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_JPEG_QUALITY = 85


def render_page(package: str, template: str, **values: Any) -> str:
    """Render a template of a package; it may extend ``base.html.j2`` and import ``macros.html.j2``.

    Args:
        package: Such as ``yolofuse.check``.
        template: Name of its file.
        values: What the template reads; every one must be there.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, package_path=""), PackageLoader("yolofuse.html", package_path="")]),
        autoescape=True,  # names of files, classes and tags are data: none of them may become HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"jpeg_uri": jpeg_uri, "numeric_columns": numeric_columns}
    return environment.get_template(template).render(**values)


def jpeg_uri(pixels: ByteArray) -> str:
    """Encode a BGR image (H, W, 3) as a JPEG data URI."""
    done, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return _uri("image/jpeg", content.tobytes())


def svg_uri(figure: Figure) -> str:
    """Encode a plot as an SVG data URI: sharp at any size, and an image runs no scripts."""
    return _uri("image/svg+xml", figure_to_svg(figure))


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
