"""What the runtime counts about itself. Imports nothing of ours; may be imported by all."""

from hermes_trio.telemetry.histogram import HistogramSnapshot, LogHistogram

__all__ = ["HistogramSnapshot", "LogHistogram"]
