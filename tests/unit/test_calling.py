"""What an operator sees while a command takes long."""

import os
import sys

import pytest

from driver.cli.calling import _bar


def test_a_bar_for_people_and_none_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = os.openpty()
    with open(slave, "w") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        with _bar("checking db") as progress:
            for done in (0, 512, 1024):
                progress(done, 1024)
        shown = _written(master, "100%")
    os.close(master)
    assert "checking db" in shown
    assert all(share in shown for share in ("0%", "50%", "100%"))
    with _bar("checking db") as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""


def _written(master: int, last: str) -> str:
    """All of it: a terminal hands over what was written bit by bit."""
    shown = ""
    while last not in shown:
        shown += os.read(master, 4096).decode()
    return shown
