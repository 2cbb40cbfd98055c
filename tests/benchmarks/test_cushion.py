"""The simulation of cushions gives its tables; what these hold is tested with the server."""

from __future__ import annotations

import pytest

from benchmarks import cushion


def test_the_tables_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, small in (("HOURS", 0.1), ("LISTENERS", 1)):
        monkeypatch.setattr(cushion, name, small)
    monkeypatch.setattr(cushion, "microphone_gaps", lambda *_: cushion.sound_buffer.CUSHION)
    cushion.main()
    said = capsys.readouterr().out
    for milliseconds in cushion.MILLISECONDS:  # each in its own row
        assert f"│ {milliseconds} " in said and f"│ {24 * milliseconds} " in said
    assert "1 in 60 to 90" in said
