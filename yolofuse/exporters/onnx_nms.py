"""Append non-maximum suppression to an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from yolofuse.backends.metadata import NmsLimits

if TYPE_CHECKING:
    import onnx

OUTPUT = "boxes"


def append_nms(model: onnx.ModelProto, num_classes: int, limits: NmsLimits) -> None:
    """Replace the one output of a graph by what its NMS keeps, per class and image.

    Its maximum number of boxes holds per class, and rows come by class: who reads them sorts and cuts.

    Shapes:
        output: (B, 4 + classes, anchors), centre boxes and scores -> (N, 7): image, x1, y1, x2, y2, score, class
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    (output,) = graph.output
    constants: dict[str, Any] = {
        "nms_split": np.array([4, num_classes], np.int64),
        "nms_max": np.array([limits.max_det], np.int64),
        "nms_iou": np.array([limits.iou], np.float32),
        "nms_conf": np.array([limits.conf], np.float32),
        "nms_axis": np.array([1], np.int64),
        "nms_of_box": np.array([0, 2], np.int64),
        "nms_of_class": np.array([1], np.int64),
        "nms_image": np.array([0], np.int64),
        "nms_halves": np.array([2, 2], np.int64),
        "nms_half": np.array(0.5, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    node = helper.make_node
    graph.node.extend(
        [
            node("Split", [output.name, "nms_split"], ["nms_centres", "nms_scores"], axis=1),
            node("Transpose", ["nms_centres"], ["nms_boxes"], perm=[0, 2, 1]),
            node(
                "NonMaxSuppression",
                ["nms_boxes", "nms_scores", "nms_max", "nms_iou", "nms_conf"],
                ["nms_kept"],  # (N, 3): image, class, anchor
                center_point_box=1,
            ),
            node("Gather", ["nms_kept", "nms_of_box"], ["nms_box_index"], axis=1),
            node("GatherND", ["nms_boxes", "nms_box_index"], ["nms_kept_boxes"]),
            node("GatherND", ["nms_scores", "nms_kept"], ["nms_kept_scores"]),
            node("Unsqueeze", ["nms_kept_scores", "nms_axis"], ["nms_score_column"]),
            node("Gather", ["nms_kept", "nms_image"], ["nms_image_index"], axis=1),
            node("Gather", ["nms_kept", "nms_of_class"], ["nms_class_index"], axis=1),
            node("Cast", ["nms_image_index"], ["nms_image_column"], to=onnx.TensorProto.FLOAT),
            node("Cast", ["nms_class_index"], ["nms_class_column"], to=onnx.TensorProto.FLOAT),
            node("Split", ["nms_kept_boxes", "nms_halves"], ["nms_centre", "nms_sides"], axis=1),
            node("Mul", ["nms_sides", "nms_half"], ["nms_half_sides"]),
            node("Sub", ["nms_centre", "nms_half_sides"], ["nms_low"]),
            node("Add", ["nms_centre", "nms_half_sides"], ["nms_high"]),
            node(
                "Concat",
                ["nms_image_column", "nms_low", "nms_high", "nms_score_column", "nms_class_column"],
                [OUTPUT],
                axis=1,
            ),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["kept", 7]))
