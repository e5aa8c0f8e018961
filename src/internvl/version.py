"""The one place that knows the version (read by the build and by `internvl --version`)."""

__version__ = "0.1.0"
