"""What the server counts, and its text for Prometheus."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

RECENT_STEPS = 500  # that the quantiles speak of


class Metrics:
    """Counts since the server began. Only the event loop writes here, so no lock is needed."""

    def __init__(self, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.sessions = 0
        self.steps = 0
        self.step_seconds_sum = 0.0
        self.skipped_steps = 0  # deadlines missed because the model was late
        self.errors = 0  # messages of clients that were refused
        self.rejected: Counter[str] = Counter()  # connections that got no session, by reason
        self.closed: Counter[int] = Counter()  # sessions that the server ended, by close code
        self.responses: Counter[str] = Counter()  # of the Realtime API, by how they ended
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)

    def record_step(self, seconds: float) -> None:
        """One step of the engine, which is one of all sessions together, took `seconds`."""
        self.steps += 1
        self.step_seconds_sum += seconds
        self._recent.append(seconds)

    def step_seconds(self, quantile: float) -> float:
        """That quantile of the recent steps; 0 before the first."""
        return float(np.quantile(self._recent, quantile)) if self._recent else 0.0

    def prometheus(self) -> str:
        """Every number, in Prometheus' text format."""
        lines = [
            *_metric("quintet_sessions", "gauge", "Live sessions now.", self.sessions),
            *_metric("quintet_sessions_max", "gauge", "Places for sessions.", self.max_sessions),
            "# HELP quintet_step_seconds Time to compute one step of all sessions.",
            "# TYPE quintet_step_seconds summary",
            *(
                f'quintet_step_seconds{{quantile="{q}"}} {self.step_seconds(q):.6f}'
                for q in (0.5, 0.99)
            ),
            f"quintet_step_seconds_sum {self.step_seconds_sum:.6f}",
            f"quintet_step_seconds_count {self.steps}",
            *_metric(
                "quintet_skipped_steps_total", "counter",
                "Steps whose deadline passed before the model was free.", self.skipped_steps,
            ),
            *_metric(
                "quintet_errors_total", "counter", "Messages that were refused.", self.errors
            ),
            *_labelled(
                "quintet_rejected_total", "Connections that got no session.", "reason",
                {"full": 0, "busy": 0, "origin": 0, "key": 0, "beta": 0} | self.rejected,
            ),
            *_labelled(
                "quintet_closed_total", "Sessions that the server ended.", "code",
                {1001: 0, 1008: 0, 1011: 0, 1013: 0, 4000: 0} | self.closed,
            ),
            *_labelled(
                "quintet_responses_total", "Responses of the Realtime API.", "status",
                {"completed": 0, "cancelled": 0, "incomplete": 0} | self.responses,
            ),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, description: str, value: float) -> list[str]:
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name} {value}"]


def _labelled(
    name: str, description: str, label: str, values: dict[str, int] | dict[int, int]
) -> list[str]:
    return [
        f"# HELP {name} {description}",
        f"# TYPE {name} counter",
        *(f'{name}{{{label}="{key}"}} {value}' for key, value in values.items()),
    ]
