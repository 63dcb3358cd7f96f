"""Decision fusion: joint NMS and probabilistic ensembling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolofuse.config.schema import MergeName
from yolofuse.eval.decision_fusion import MERGES, fuse_rows
from yolofuse.eval.postprocess import postprocess

BOX = [10.0, 10.0, 50.0, 90.0]
NEAR = [12.0, 10.0, 52.0, 90.0]
FAR = [200.0, 200.0, 240.0, 240.0]


def rows(*table: tuple[list[float], float, int]) -> Tensor:
    """(N, 6) from (box, score, class)."""
    return torch.tensor([[*box, score, class_id] for box, score, class_id in table]).reshape(-1, 6)


def end_to_end(*table: tuple[list[float], float, int]) -> Tensor:
    return rows(*table)[None]


def test_fuse_rows__both_modalities_by_hand() -> None:
    fused = fuse_rows(rows((BOX, 0.8, 0)), rows((NEAR, 0.7, 0)), iou=0.5)
    # 0.8 * 0.7 / (0.8 * 0.7 + 0.2 * 0.3) = 0.56 / 0.62
    assert fused[0, 4].item() == pytest.approx(0.9032258, abs=1e-6)
    # left edge: (0.8 * 10 + 0.7 * 12) / 1.5
    assert fused[0, 0].item() == pytest.approx(10.933333, abs=1e-5)
    assert len(fused) == 1


@pytest.mark.parametrize("partner", [(FAR, 0.7, 0), (NEAR, 0.7, 1)], ids=["elsewhere", "another class"])
def test_fuse_rows__a_box_of_one_modality_is_unchanged(partner: tuple[list[float], float, int]) -> None:
    rgb, ir = rows((BOX, 0.8, 0)), rows(partner)
    assert torch.equal(fuse_rows(rgb, ir, iou=0.5), torch.cat((rgb, ir)))
    assert torch.equal(fuse_rows(ir, rgb, iou=0.5), torch.cat((rgb, ir)))


def test_fuse_rows__is_symmetric_in_the_modalities() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 100
    sizes = torch.rand(60, 2, generator=generator) * 40 + 20
    scores, classes = torch.rand(60, 1, generator=generator), torch.randint(0, 2, (60, 1), generator=generator)
    table = torch.cat((corners, corners + sizes, scores, classes), dim=1)
    table = table[table[:, 4].argsort(descending=True)]
    torch.testing.assert_close(fuse_rows(table[::2], table[1::2], iou=0.4), fuse_rows(table[1::2], table[::2], iou=0.4))


def test_fuse_rows__agrees_with_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(200, 2, generator=generator) * 150
    sizes = torch.rand(200, 2, generator=generator) * 40 + 20
    scores, classes = torch.rand(200, 1, generator=generator), torch.randint(0, 2, (200, 1), generator=generator)
    table = torch.cat((corners, corners + sizes, scores, classes), dim=1)
    rgb, ir = (half[half[:, 4].argsort(descending=True)] for half in (table[:90], table[90:]))
    torch.testing.assert_close(fuse_rows(rgb, ir, iou=0.4), plain_proben(rgb, ir, 0.4), rtol=1e-5, atol=1e-5)


def plain_proben(rgb: Tensor, ir: Tensor, iou: float) -> Tensor:
    """The definition, one box at a time, in plain floats."""
    pool = [(row, "rgb") for row in rgb.tolist()] + [(row, "ir") for row in ir.tolist()]
    pool.sort(key=lambda item: -item[0][4])
    done: list[list[float]] = []
    while pool:
        head, source = pool.pop(0)
        cluster = [item for item in pool if item[0][5] == head[5] and plain_iou(item[0], head) > iou]
        pool = [item for item in pool if item not in cluster]
        others = [row for row, origin in cluster if origin != source]
        if others:
            p, q = head[4], others[0][4]
            box = [(p * a + q * b) / (p + q) for a, b in zip(head[:4], others[0][:4], strict=True)]
            head = [*box, p * q / (p * q + (1 - p) * (1 - q)), head[5]]
        done.append(head)
    return torch.tensor(sorted(done, key=lambda row: -row[4]))


def plain_iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_fuse_rows__certain_scores_stay_finite() -> None:
    fused = fuse_rows(rows((BOX, 1.0, 0)), rows((NEAR, 1e-30, 0)), iou=0.5)
    assert fused.isfinite().all()


def test_merge_proben__at_most_one_box_of_each_modality_in_a_cluster() -> None:
    rgb = end_to_end((BOX, 0.8, 0), (NEAR, 0.6, 0))
    ir = end_to_end((NEAR, 0.7, 0), (BOX, 0.6, 0))
    (fused,) = MERGES["proben"](rgb, ir, conf=0.1, iou=0.5, max_det=10, end2end=True)
    assert fused[:, 4].tolist() == pytest.approx([0.56 / 0.62], abs=1e-6)


def test_merge_proben__a_fused_score_below_conf_is_dropped() -> None:
    rgb, ir = end_to_end((BOX, 0.3, 0)), end_to_end((NEAR, 0.3, 0))
    assert len(MERGES["proben"](rgb, ir, conf=0.25, iou=0.5, max_det=10, end2end=True)[0]) == 0


def test_merge_nms__the_stronger_box_wins_whole() -> None:
    rgb, ir = end_to_end((BOX, 0.7, 0), (FAR, 0.4, 0)), end_to_end((NEAR, 0.8, 0))
    (merged,) = MERGES["nms"](rgb, ir, conf=0.1, iou=0.5, max_det=10, end2end=True)
    torch.testing.assert_close(merged, rows((NEAR, 0.8, 0), (FAR, 0.4, 0)))


def test_merge_nms__is_nms_of_all_anchors() -> None:
    generator = torch.Generator().manual_seed(0)
    rgb, ir = (
        torch.rand(2, 7, count, generator=generator) * torch.tensor([99.0] * 4 + [1.0] * 3)[:, None]
        for count in (80, 90)
    )
    merged = MERGES["nms"](rgb, ir, conf=0.2, iou=0.5, max_det=50, end2end=False)
    expected = postprocess(torch.cat((rgb, ir), dim=2), conf=0.2, iou=0.5, max_det=50, end2end=False)
    assert all(torch.equal(a, b) for a, b in zip(merged, expected, strict=True))


@pytest.mark.parametrize("name", ["nms", "proben"])
@pytest.mark.parametrize("end2end", [False, True])
def test_merge__an_empty_modality_changes_nothing(name: MergeName, end2end: bool) -> None:
    rgb = end_to_end((BOX, 0.8, 0), (FAR, 0.7, 1)) if end2end else torch.tensor([[[50.0], [50], [20], [10], [0.9]]])
    alone = postprocess(rgb, conf=0.1, iou=0.5, max_det=10, end2end=end2end)
    blind = torch.zeros_like(rgb)
    for pair in ((rgb, blind), (blind, rgb)):
        merged = MERGES[name](*pair, conf=0.1, iou=0.5, max_det=10, end2end=end2end)
        assert torch.equal(merged[0], alone[0])
    assert len(MERGES[name](blind, blind, conf=0.1, iou=0.5, max_det=10, end2end=end2end)[0]) == 0
