from .export import export_detector as export_detector
from .options import FORMATS as FORMATS
from .options import ExportOptions as ExportOptions
