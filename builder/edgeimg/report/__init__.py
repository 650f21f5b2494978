"""What a release is, for people: one HTML file that needs nothing else."""

from edgeimg.report.facts import Component, ImageFacts, ReportFacts
from edgeimg.report.page import page

__all__ = ["Component", "ImageFacts", "ReportFacts", "page"]
