"""Figures, and one self-contained HTML page, from results that are already on disk."""

from culi_mlip.report.page import write_page

__all__ = ["write_page"]
