"""One evaluation as files: values, report.json, figures, and one HTML page that needs no network.

# K trials, S samples
"""

from voxid.evaluation.report.clips import Excerpt
from voxid.evaluation.report.page import write_html

__all__ = ["Excerpt", "write_html"]
