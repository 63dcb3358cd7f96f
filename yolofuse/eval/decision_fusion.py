"""Fuse the boxes of two complete detectors (decision fusion): joint NMS or probabilistic ensembling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.ops import box_iou

from yolofuse.config.schema import MergeName
from yolofuse.eval.postprocess import MAX_CANDIDATES, decode_candidates, nms, nms_indices, postprocess, sort_by_score

_LOGIT_EPS = 1e-12
"""Scores are clamped this far from 0 and 1, so that their logits stay finite and a saturated score can be lowered."""


def merge_nms(
    rgb_predictions: Tensor, ir_predictions: Tensor, *, conf: float, iou: float, max_det: int, end2end: bool
) -> list[Tensor]:
    """Merge by joint NMS over the candidates of both detectors: of each object only the stronger box is kept.

    End-to-end heads resolve duplicates only within themselves, so that their union goes through NMS too.
    """
    decode = partial(decode_candidates, conf=conf, end2end=end2end)
    unions = (
        sort_by_score(torch.cat((decode(rgb), decode(ir))))[:MAX_CANDIDATES]
        for rgb, ir in zip(rgb_predictions, ir_predictions, strict=True)
    )
    return [nms(union, iou=iou, max_det=max_det) for union in unions]


def merge_proben(
    rgb_predictions: Tensor, ir_predictions: Tensor, *, conf: float, iou: float, max_det: int, end2end: bool
) -> list[Tensor]:
    """Merge by probabilistic ensembling: an object that both detectors see gets a fused score and a fused box.

    Each detector is postprocessed alone (its own NMS and ``max_det``); then :func:`fuse_rows` fuses the two lists.
    Rows whose fused score is not above ``conf`` are dropped.
    """
    rgb_rows, ir_rows = (
        postprocess(predictions, conf=conf, iou=iou, max_det=max_det, end2end=end2end)
        for predictions in (rgb_predictions, ir_predictions)
    )
    fused = (fuse_rows(rgb, ir, iou=iou) for rgb, ir in zip(rgb_rows, ir_rows, strict=True))
    return [rows[rows[:, 4] > conf][:max_det] for rows in fused]


MERGES: dict[MergeName, Callable[..., list[Tensor]]] = {"nms": merge_nms, "proben": merge_proben}
"""Merge the outputs of an RGB and an IR head for the same pairs into one list of boxes per image.

Outputs, options and result are those of :func:`yolofuse.eval.postprocess.postprocess`; the heads may give different
numbers of boxes. ``iou`` is the overlap above which two boxes of a class are the same object.
"""


def fuse_rows(rgb: Tensor, ir: Tensor, *, iou: float) -> Tensor:
    """Fuse two lists of one image by ProbEn: cluster by overlap, fuse each cluster's best RGB and best IR box.

    Clusters are those of NMS: the strongest box is a head and absorbs every weaker box of its class that overlaps it by
    more than ``iou``. Of each modality only the best member counts. With scores p and q as independent evidence and a
    uniform prior, Bayes' rule gives ``p q / (p q + (1 - p) (1 - q))``, a sum of logits (the prior's logit would be
    subtracted, and is 0). The box is the average weighted by score. A box of one modality without a partner in the
    other is unchanged.

    Reference:
        Multimodal Object Detection via Probabilistic Ensembling, arXiv:2104.02904. What differs here: YOLO scores each
        class by itself, so that fusion is binary, class by class (p against 1 - p), where the paper fuses a softmax
        over classes and background. Boxes are averaged as in its "s-avg"; its "v-avg" needs a predicted variance,
        which the head does not give. A weak partner lowers the score (0.9 and 0.1 give 0.5, while 0.9 alone stays
        0.9), so that ``conf`` decides which weak boxes count as evidence.

    Shapes:
        rgb: (N, 6), ir: (M, 6), each best first -> (K, 6), K <= N + M, best first
    """
    rows = torch.cat((rgb, ir))
    from_ir = torch.arange(len(rows), device=rows.device) >= len(rgb)
    order = torch.sort(rows[:, 4], descending=True, stable=True).indices
    rows, from_ir = rows[order], from_ir[order]
    head, partner = _find_partners(rows, from_ir, iou)
    paired = partner >= 0
    head_rows, partner_rows = rows[head[paired]].double(), rows[partner[paired]].double()
    fused = rows[head].double()
    scores = torch.stack((head_rows[:, 4], partner_rows[:, 4]))
    fused[paired, 4] = torch.logit(scores, eps=_LOGIT_EPS).sum(dim=0).sigmoid()
    share = scores[0] / scores.sum(dim=0)
    fused[paired, :4] = torch.lerp(partner_rows[:, :4], head_rows[:, :4], share[:, None])
    return sort_by_score(fused).float()


def _find_partners(rows: Tensor, from_ir: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Return the index of each cluster's head, and of its best member from the other modality (-1: none).

    Shapes:
        rows: (N, 6) best first, from_ir: (N,) bool -> (K,), (K,)
    """
    num_rows = len(rows)
    index = torch.arange(num_rows, device=rows.device)
    head = nms_indices(rows, iou=iou)
    overlap = box_iou(rows[head, :4].double(), rows[:, :4].double()) > iou  # (K, N)
    member = overlap & (rows[head, 5:6] == rows[:, 5]) & (head[:, None] < index)
    member &= member.cumsum(dim=0) == 1  # a box belongs to the strongest head that overlaps it
    member[:, head] = False
    partners = member & (from_ir[head, None] != from_ir)
    best = torch.where(partners, index, num_rows).amin(dim=1) if num_rows else index
    return head, torch.where(best < num_rows, best, -1)
