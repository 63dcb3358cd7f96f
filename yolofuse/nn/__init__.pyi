from .add import AddFusion as AddFusion
from .attention import AttentionFusion as AttentionFusion
from .concat import ConcatFusion as ConcatFusion
from .gated import GatedFusion as GatedFusion
from .registries import FUSIONS as FUSIONS
from .registries import HEADS as HEADS
