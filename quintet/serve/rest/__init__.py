"""The HTTP API: questions without a clock, answered in turn mode."""
