"""Rows -> hidden vectors -> logits. Written for one device."""
