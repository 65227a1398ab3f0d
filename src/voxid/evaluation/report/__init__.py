"""One evaluation as files: values, report.json, figures, and one HTML page that needs no network.

# K trials, S samples
"""

from voxid.evaluation.report.clips import Clip
from voxid.evaluation.report.page import write_html

__all__ = ["Clip", "write_html"]
