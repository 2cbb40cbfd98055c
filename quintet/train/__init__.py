"""The only loop, and what a stage must state for it."""

from quintet.train.loop import run
from quintet.train.task import Task, TrainConfig

__all__ = ["Task", "TrainConfig", "run"]
