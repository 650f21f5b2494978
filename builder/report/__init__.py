"""What a release is, for people: one HTML file that needs nothing else."""

from builder.report.facts import Component, ImageFacts, ReportFacts
from builder.report.page import page

__all__ = ["Component", "ImageFacts", "ReportFacts", "page"]
