"""Boundary leverage, flow attribution and surgery of medical image models."""

__version__ = "0.1.0"
