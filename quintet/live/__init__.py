"""Models that run: live sessions, turn mode, and the folders they come from."""

from quintet.live.engine import Engine
from quintet.live.pretrained import Quintet, load
from quintet.live.sampling import Sampling
from quintet.live.session import Session, StepOutput
from quintet.live.talk import Reply
from quintet.live.turns import TurnReply

__all__ = [
    "Engine", "Quintet", "Reply", "Sampling", "Session", "StepOutput", "TurnReply", "load",
]  # fmt: skip
