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
pair = np.dstack([rgb, cv2.resize(cv2.imread(sys.argv[3], cv2.IMREAD_GRAYSCALE), rgb.shape[1::-1])])
gain = meta["imgsz"] / max(rgb.shape)
pair = cv2.resize(pair, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR)
step = meta["imgsz"] if meta["letterbox"] == "square" else meta["stride"]  # grey margins, up to multiples of it
high, wide = (-(-side // step) * step for side in pair.shape[:2])
top, left = (round((whole - side * gain) / 2) for whole, side in zip((high, wide), rgb.shape[:2], strict=True))
images = np.full((1, 4, high, wide), 114, np.uint8)  # R, G, B, IR
images[0, :, top : top + pair.shape[0], left : left + pair.shape[1]] = pair.transpose(2, 0, 1)
for _, x1, y1, x2, y2, score, class_id in session.run(None, {"rgb": images[:, :3], "ir": images[:, 3:]})[0]:
    box = (np.array([x1, y1, x2, y2]) - [left, top, left, top]) / gain
    print(meta["names"][int(class_id)], f"{score:.4f}", *box.round(2))
