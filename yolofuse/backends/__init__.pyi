from .backend import Backend as Backend
from .metadata import ExportMetadata as ExportMetadata
from .metadata import NmsLimits as NmsLimits
from .open import SUFFIXES as SUFFIXES
from .open import is_export as is_export
from .open import open_export as open_export
