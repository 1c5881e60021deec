"""Files of the owner that are replaced and removed while they are read."""

from __future__ import annotations

import json
import threading

import folder_paths
import pytest
from atelier.api import settings
from atelier.prompts import styles


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    monkeypatch.setattr(settings, "_read", None)
    monkeypatch.delenv("ATELIER_API_KEY", raising=False)
    (tmp_path / "atelier").mkdir()
    return tmp_path


def test_a_settings_file_that_comes_and_goes_is_there_or_not(user):
    file, stopped = user / "atelier" / "api.json", threading.Event()

    def editor() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            written = file.with_suffix(".new")
            written.write_text(json.dumps({"max_waiting": 7 + number % 2}), encoding="utf-8")
            written.replace(file)
            file.unlink()

    thread = threading.Thread(target=editor)
    thread.start()
    try:
        seen = {settings.current().max_waiting for _ in range(3000)}
    finally:
        stopped.set()
        thread.join()
    assert seen <= {7, 8, 1000} and 1000 in seen


def test_a_folder_in_place_of_the_settings_closes_the_door(user):
    (user / "atelier" / "api.json").mkdir()
    with pytest.raises(settings.SettingsError, match=r"api\.json cannot be used"):
        settings.current()


def test_own_styles_that_cannot_be_read_leave_ours(user, caplog):
    ours = styles.styles()
    (user / "atelier_styles.json").mkdir()
    assert styles.styles() == ours and "is not used" in caplog.text
