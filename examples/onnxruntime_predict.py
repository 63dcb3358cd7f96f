"""Detect in a pair with onnxruntime, OpenCV and NumPy alone: onnxruntime_predict.py MODEL.onnx RGB IR.

The file is written by ``yolofuse export --nms``; images of 8 bits that show the same view.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
meta = json.loads(session.get_modelmeta().custom_metadata_map["yolofuse"])
rgb = cv2.imread(sys.argv[2])[..., ::-1]
ir = cv2.resize(cv2.imread(sys.argv[3], cv2.IMREAD_GRAYSCALE), rgb.shape[1::-1])
pair = np.dstack([rgb, ir])
gain = meta["imgsz"] / max(pair.shape)
pair = cv2.resize(pair, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA)
free = [-side % meta["stride"] for side in pair.shape[:2]]  # grey margins, up to multiples of the stride
top, left = (round(side / 2) for side in free)
pair = cv2.copyMakeBorder(pair, top, free[0] - top, left, free[1] - left, cv2.BORDER_CONSTANT, value=[114] * 4)
images = np.ascontiguousarray(pair.transpose(2, 0, 1)[None])  # (1, 4, H, W): R, G, B, IR
for _, x1, y1, x2, y2, score, class_id in session.run(None, {"rgb": images[:, :3], "ir": images[:, 3:]})[0]:
    box = (np.array([x1, y1, x2, y2]) - [left, top, left, top]) / gain
    print(meta["names"][int(class_id)], f"{score:.4f}", *box.round(2))
