"""The report of a release for people: one self-contained HTML file."""

from edgeimg.report.facts import Component, ImageFacts, ReportFacts
from edgeimg.report.page import page

__all__ = ["Component", "ImageFacts", "ReportFacts", "page"]
