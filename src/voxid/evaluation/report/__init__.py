"""One evaluation as one HTML page: figures, tables, recordings to listen to; no network, no other file.

# K trials, S samples
"""

from voxid.evaluation.report.clips import Clip
from voxid.evaluation.report.figures import Panel
from voxid.evaluation.report.page import write_html

__all__ = ["Clip", "Panel", "write_html"]
