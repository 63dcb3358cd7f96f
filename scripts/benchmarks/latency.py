"""Measure the latency of a mid-fusion detector in every runtime, beside ultralytics' own exports for one camera.

    OMP_WAIT_POLICY=PASSIVE python -m scripts.benchmarks.latency --csv results/latency.csv

Variants take turns within a round, so that a busy machine slows all of them equally; weights are fresh. Columns:

- ``ms`` and ``cpu_ms`` are medians over the rounds of wall time and of processor time of one pair, batch 1;
- ``of_stock`` is the median of the ratios to ultralytics' model in the same runtime and with as many threads;
- ``of_flops`` is that, divided by the ratio of their operations: 1.0 means that a pair costs just what it computes.

Ours take uint8 and scale it themselves, ultralytics' takes float32. OpenVINO's bf16 is fp32 on processors without it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.benchmarks.results_table import append_rows, print_rows
from yolofuse import upstream
from yolofuse.backends import open_export
from yolofuse.config.load import validate_config
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.exporters.export import describe_export, write_file
from yolofuse.exporters.module import ExportModule, export_module
from yolofuse.exporters.options import ExportOptions
from yolofuse.model import build_detector
from yolofuse.model.summary import summarise

Variant = Callable[[], object]
_NAMES = ("person",)
_STOCK = "stock"


def main() -> None:
    """Measure, print the table and optionally append it to a CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="yolo11n", metavar="NAME")
    parser.add_argument("--imgsz", type=int, default=640, help="px (default: 640)")
    parser.add_argument("--rounds", type=int, default=25, help="turns per variant (default: 25)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    ours, stock = (fresh_detector(args.base, streams) for streams in ("both", "rgb"))
    flops = sum(part.gflops for part in summarise(ours.model)) / sum(part.gflops for part in summarise(stock.model))
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        files = _write_files(ours, args, Path(scratch))
        for threads in args.threads:
            torch.set_num_threads(threads)
            variants = dict(_variants(ours, stock, files, args.imgsz, threads))
            rows += _measure(variants, args.rounds, threads, flops)
    print_rows(rows)
    if args.csv:
        import onnxruntime
        import openvino

        shared = {
            "torch": torch.__version__,
            "ultralytics": upstream.version,
            "onnxruntime": onnxruntime.__version__,
            "openvino": openvino.__version__.partition("-")[0],
            "base": args.base,
            "imgsz": args.imgsz,
            "rounds": args.rounds,
        }
        append_rows(args.csv, rows, shared)


def fresh_detector(base: str, streams: str = "both") -> LoadedDetector:
    """Return a mid-fusion detector, or one of a single camera, with fresh weights and one class."""
    config = _config(base, streams)
    model = build_detector(config.model, num_classes=len(_NAMES)).eval()
    return LoadedDetector(model, config, _NAMES, {"epoch": 0, "data_hash": None})


def write_fresh(loaded: LoadedDetector, options: ExportOptions, file: Path) -> Path:
    """Write such a detector for another runtime; return the file."""
    prepared, metadata = describe_export(loaded, options, "0" * 64)
    write_file(export_module(prepared.model, metadata), prepared, metadata, options, file)
    return file


def _config(base: str, streams: str) -> Any:
    raw = {
        "data": {"descriptor": "none"},
        "train": {"run": "none"},
        "model": {"base": base, "cut": "mid", "streams": streams},
    }
    return validate_config(raw, where="benchmark")


def _write_files(ours: LoadedDetector, args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Export ours, and ultralytics' model by its own exporter."""
    files = {}
    for name, options in (
        ("onnx", ExportOptions()),
        ("onnx nms", ExportOptions(nms=True)),
        ("openvino fp32", ExportOptions(format="openvino")),
        ("openvino bf16", ExportOptions(format="openvino", precision="bf16")),
    ):
        files[name] = write_fresh(ours, options, folder / f"{name.replace(' ', '-')}{options.suffix}")
    model = upstream.build_plain(upstream.resolve_base(args.base), 3, len(_NAMES), None)
    upstream.save_model(model, _NAMES, args.imgsz, folder / "stock.pt")
    from ultralytics import YOLO  # type: ignore[attr-defined]

    exported = YOLO(folder / "stock.pt").export(format="onnx", imgsz=args.imgsz, dynamic=True, simplify=False)
    files[_STOCK] = Path(exported)
    return files


def _variants(
    ours: LoadedDetector, stock: LoadedDetector, files: dict[str, Path], imgsz: int, threads: int
) -> Iterator[tuple[tuple[str, str], Variant]]:
    """Yield each variant by runtime and model, ready to be called."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 4, imgsz, imgsz), generator=generator, dtype=torch.uint8)
    image, rgb, ir = pixels[:, :3].float() / 255, pixels[:, :3].contiguous(), pixels[:, 3:].contiguous()
    yield ("torch", _STOCK), lambda: _run(stock.model, image, image)
    yield ("torch", "mid"), lambda: _run(ours.model, rgb.float() / 255, ir.float() / 255)
    yield ("torch folded", _STOCK), _folded(stock, (image,), pixels="float32")
    yield ("torch folded", "mid"), _folded(ours, (rgb, ir))
    yield ("onnxruntime", _STOCK), _stock_onnx(files[_STOCK], image.numpy(), threads)
    for name, label in (("onnx", "mid"), ("onnx nms", "mid, NMS inside")):
        yield ("onnxruntime", label), _backend(files[name], rgb, ir, threads)
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
        yield (f"openvino {precision}", _STOCK), _stock_openvino(files[_STOCK], image.numpy(), hint, threads)
        yield (f"openvino {precision}", "mid"), _backend(files[f"openvino {precision}"], rgb, ir, threads)


def _run(model: torch.nn.Module, *images: torch.Tensor) -> object:
    with torch.inference_mode():
        return model(*images)


def _folded(loaded: LoadedDetector, images: tuple[torch.Tensor, ...], **options: Any) -> Variant:
    prepared, metadata = describe_export(loaded, ExportOptions(**options), "0" * 64)
    module: ExportModule = export_module(prepared.model, metadata)
    return lambda: _run(module, *images)


def _backend(file: Path, rgb: torch.Tensor, ir: torch.Tensor, threads: int) -> Variant:
    backend = open_export(file, threads=threads)
    inputs = [rgb.numpy(), ir.numpy()]
    return lambda: backend._infer(inputs)


def _stock_onnx(file: Path, image: np.ndarray, threads: int) -> Variant:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": image})


def _stock_openvino(file: Path, image: np.ndarray, hint: str, threads: int) -> Variant:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(str(file), "CPU", options)
    return lambda: model([image])


def _measure(
    variants: dict[tuple[str, str], Variant], rounds: int, threads: int, flops: float
) -> list[dict[str, object]]:
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in variants}
    for number in range(rounds + 2):  # the first two are not counted
        for key in list(variants) if number % 2 else reversed(variants):
            started, used = time.perf_counter(), time.process_time()
            variants[key]()
            times[key].append((1000 * (time.perf_counter() - started), 1000 * (time.process_time() - used)))
    rows: list[dict[str, object]] = []
    for (runtime, model), found in times.items():
        wall, cpu = ([pair[column] for pair in found[2:]] for column in (0, 1))
        theirs = [pair[0] for pair in times[runtime, _STOCK][2:]]
        ratio = statistics.median(ours / other for ours, other in zip(wall, theirs, strict=True))
        is_stock = model == _STOCK
        rows.append(
            {
                "runtime": runtime,
                "model": "ultralytics, one camera" if is_stock else model,
                "threads": threads,
                "ms": f"{statistics.median(wall):.1f}",
                "cpu_ms": f"{statistics.median(cpu):.1f}",
                "of_stock": f"{ratio:.2f}",
                "flops_ratio": "1.00" if is_stock else f"{flops:.2f}",
                "of_flops": "1.00" if is_stock else f"{ratio / flops:.2f}",
            }
        )
    return rows


if __name__ == "__main__":
    main()
