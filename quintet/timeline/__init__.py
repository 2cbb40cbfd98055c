"""The table of the five streams: rows, live order, masks, targets. Knows time, not media."""
