"""Write small sources in the layouts of the published data sets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from tests.support.convert_trees import VocBox, coco, image, llvip, text, voc


def flir_aligned(root: Path, boxes: list[VocBox]) -> Path:
    for number in (2, 3, 8864):
        image(root / "JPEGImages" / f"FLIR_{number:05d}_RGB.jpg")
        image(root / "JPEGImages" / f"FLIR_{number:05d}_PreviewData.jpeg", gray=True)
        voc(root / "Annotations" / f"FLIR_{number:05d}_PreviewData.xml", boxes)
    text(root / "align_train.txt", "FLIR_00002_PreviewData\nFLIR_00003_PreviewData\n")
    text(root / "align_validation.txt", "FLIR_08864_PreviewData\n")
    return root


def flir_v1(root: Path) -> Path:
    for part, numbers in (("train", (1, 2, 3)), ("val", (9,))):
        for number in numbers:
            image(root / part / "thermal_8_bit" / f"FLIR_{number:05d}.jpeg", gray=True)
            image(root / part / "thermal_16_bit" / f"FLIR_{number:05d}.tiff", gray=True)
            image(root / part / "RGB" / f"FLIR_{number:05d}.jpg", (160, 140))
        boxes = [(3, [8, 6, 16, 12]), (1, [0, 0, 64, 48]), (17, [1, 1, 5, 5])]
        images = {f"thermal_8_bit/FLIR_{number:05d}.jpeg": boxes for number in numbers}
        names = {1: "person", 2: "bicycle", 3: "car", 17: "dog"}
        coco(root / part / "thermal_annotations.json", images, names)
    (root / "train" / "RGB" / "FLIR_00002.jpg").unlink()
    return root


_BOX = [(3, [8, 6, 16, 12])]


def flir_v2(root: Path) -> Path:
    parts = {
        "images_thermal_train": ["video-A-frame-000001-t1", "video-A-frame-000002-t2", "video-B-frame-000001-t3"],
        "images_rgb_train": ["video-A-frame-000001-r1", "video-C-frame-000001-r2"],
        "video_thermal_test": ["video-T-frame-000000-t4", "video-T-frame-000001-t5", "video-T-frame-000002-t6"],
        "video_rgb_test": ["video-R-frame-000000-r4", "video-R-frame-000001-r5", "video-R-frame-000002-r6"],
    }
    for part, stems in parts.items():
        thermal = "thermal" in part
        for stem in stems:
            image(root / part / "data" / f"{stem}.jpg", (64, 48) if thermal else (90, 80), gray=thermal)
        records = {f"data/{stem}.jpg": _BOX for stem in stems if not stem.endswith("t6")}
        coco(root / part / "coco.json", records, {1: "person", 3: "car", 79: "other vehicle"})
    names = {f"video-R-frame-00000{i}-r{i + 4}.jpg": f"video-T-frame-00000{i}-t{i + 4}.jpg" for i in range(3)}
    text(root / "rgb_to_thermal_vid_map.json", json.dumps(names))
    return root


def bbgt(path: Path, *lines: str) -> None:
    text(path, "\n".join(("% bbGt version=3", *lines)) + "\n")


def kaist(root: Path) -> Path:
    videos = {"set00/V000": 8, "set00/V001": 2, "set03/V000": 8, "set03/V001": 2, "set06/V000": 40, "set09/V000": 20}
    for video, count in videos.items():
        for number in range(count):
            if video[:5] in ("set06", "set09") and (number + 1) % 20:
                continue
            for modality in ("visible", "lwir"):
                image(root / "images" / video / modality / f"I{number:05d}.jpg")
            bbgt(root / "annotations" / f"{video.replace('/', '_')}_I{number:05d}.txt", "person 8 6 16 12" + " 0" * 7)
    return root


def polygon(name: str, *corners: int) -> str:
    tags = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(_CORNERS, corners, strict=True))
    return f"<object><name>{name}</name><polygon>{tags}</polygon></object>\n"


_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


def dronevehicle(root: Path, ir: str, rgb: str) -> Path:
    for folder, gray in (("trainimg", False), ("trainimgr", True)):
        path = image(root / "train" / folder / "00001.jpg", (840, 712), gray=gray)
        pixel = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixel is not None
        pixel[:] = 60
        pixel[:100], pixel[-100:], pixel[:, :100], pixel[:, -100:] = 255, 255, 255, 255
        cv2.imwrite(str(path), pixel)
    for folder, objects in (("trainlabelr", ir), ("trainlabel", rgb)):
        text(root / "train" / folder / "00001.xml", f"<annotation>\n{objects}</annotation>\n")
    return root


VEDAI_WH = (128, 96)
"""Smaller than the real 1024x1024, which no test needs."""


def vedai(root: Path) -> Path:
    for number in range(4):
        image(root / "Vehicules1024" / f"{number:08d}_co.png", VEDAI_WH)
        image(root / "Vehicules1024" / f"{number:08d}_ir.png", VEDAI_WH, gray=True)
    folder = root / "Annotations1024"
    box = "0 0 0 10 30 20 8 40 36 12"
    text(folder / "00000000.txt", "".join(f"20 20 0.5 {number} {box}\n" for number in (1, 2, 11, 4, 5, 23, 9, 31, 10)))
    text(folder / "00000001.txt", f"20 20 0.5 7 {box}\n20 20 0.5 8 {box}\n20 20 0.5 1 {box}\n")
    text(folder / "00000002.txt", "20 20 1 1 0\n")
    text(folder / "fold01.txt", "00000000\n00000002\n00000003\n")
    text(folder / "fold01test.txt", "00000001\n")
    return root


def make(name: str, src: Path) -> None:
    """Write a source in the layout of a format."""
    if name == "m3fd":
        for number in range(3):
            image(src / "Vis" / f"{number:05d}.png")
            image(src / "Ir" / f"{number:05d}.png", gray=True)
            voc(src / "Annotation" / f"{number:05d}.xml", [("Car", 1, 2, 3, 4)])
    elif name == "flir-aligned":
        flir_aligned(src, [("car", 1, 2, 3, 4)])
    elif name == "dronevehicle":
        dronevehicle(src, polygon("car", 200, 200, 220, 200, 220, 230, 200, 230), "")
    else:
        makers = {"llvip": llvip, "flir-adas-v1": flir_v1, "flir-adas-v2": flir_v2}
        {**makers, "kaist": kaist, "vedai": vedai}[name](src)


NAMES = ("llvip", "m3fd", "flir-aligned", "flir-adas-v1", "flir-adas-v2", "kaist", "dronevehicle", "vedai")
