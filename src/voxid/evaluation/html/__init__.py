"""One evaluation as one HTML page: figures, tables, recordings to listen to; no network, no other file.

# K trials, S samples
"""

from voxid.evaluation.html.clips import Clip
from voxid.evaluation.html.figures import Panel
from voxid.evaluation.html.page import write_html

__all__ = ["Clip", "Panel", "write_html"]
