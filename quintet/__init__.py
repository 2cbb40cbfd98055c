"""Quintet: one transformer that hears, sees, reads, writes, speaks and draws in real time."""

from quintet.config import UserError
from quintet.live import Quintet, Reply, Sampling, Session, StepOutput, load

__all__ = ["Quintet", "Reply", "Sampling", "Session", "StepOutput", "UserError", "load"]
