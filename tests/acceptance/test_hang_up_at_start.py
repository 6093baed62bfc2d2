"""SIGHUP during the start does not end the process; it reloads once it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SECONDS = 30.0


def test_a_hang_up_while_it_starts_is_neither_its_end_nor_lost(tmp_path: Path) -> None:
    settings = tmp_path / "vault.toml"
    text = (
        f'[server]\nlisten_addr = "127.0.0.1:0"\n[storage]\ndatabase_url = "sqlite:///{tmp_path}/vault.db"\n'
        "[purge]\nsweep_interval_hours = 0\n"
    )
    os.mkfifo(settings)
    command = [sys.executable, "-m", "vsqlvault", "--config", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with settings.open("w", encoding="utf-8") as first_reading:  # opens once it reads them: it is starting
            process.send_signal(signal.SIGHUP)
            first_reading.write(text)
        assert process.stdout
        assert any("Vault API is running" in line for line in process.stdout)  # the first reading has come to its end
        settings.write_text(text, "utf-8")  # waits for the second reading
        assert any("settings reloaded" in line for line in process.stdout)
        process.terminate()
        assert process.wait(SECONDS) == 0
