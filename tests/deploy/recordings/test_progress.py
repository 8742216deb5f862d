"""Progress of jobs with planted times."""

from __future__ import annotations

import pytest

from loudness import Loudness
from spectrim.deploy.recordings.input_recordings import Recording, recordings_of
from spectrim.deploy.recordings.job import outputs_of
from spectrim.deploy.recordings.progress import JobProgress
from spectrim.deploy.recordings.table_layouts import TagTable


def test_files_audio_speed_and_time_left():
    now = [100.0]
    progress = JobProgress(clock=lambda: now[0])
    recordings = [Recording(f"{n}.wav", weight=weight) for n, weight in enumerate((10, 20, 50, 20))]
    progress.start(recordings)
    assert progress.seconds_left is None
    progress.advance("0.wav", 7200.0)
    progress.done(recordings[0], None)
    progress.done(recordings[1], "no sound")
    now[0] += 60
    # 30 of 100 bytes took 60 s, so 70 bytes take 140 s.
    assert progress.seconds_left == pytest.approx(140)
    assert progress.text() == (
        "2 of 4 files, 1 failed, 2.0 h of audio, 120 times real time, 2 min left"
    )
    progress.done(recordings[2], None)
    progress.done(recordings[3], None)
    assert progress.fraction == 1 and "left" not in progress.text()


def test_within_a_long_recording_its_seconds_count(monkeypatch):
    monkeypatch.setattr("spectrim.deploy.recordings.progress.duration_of", lambda path: 4000.0)
    now = [0.0]
    progress = JobProgress(clock=lambda: now[0])
    progress.start([Recording("long.wav", weight=1e9)])
    for _ in range(100):
        progress.advance("long.wav", 10.0)
    now[0] = 5.0
    assert progress.fraction == 0.25 and progress.seconds_left == pytest.approx(15)


@pytest.mark.parametrize("hop", [None, 1.0, 0.3, 0.07])
def test_overlapping_windows_count_their_sound_once(folder, hop):
    """The sound of the readable files is 12.335 s, whatever the hop."""
    runner, progress = Loudness(), JobProgress()
    names = {"a": 0.4, "b/c": 3.7, "b/d": 1.0, "d": 1.005, "g": 0.03, "h": 2.2, "x": 5.0}
    recordings = recordings_of(folder / f"{name}.wav" for name in names)
    list(outputs_of(TagTable(runner, None, "mix"), recordings, hop=hop, watcher=progress))
    assert progress.seconds == pytest.approx(sum(names.values()), abs=1e-9)
    assert progress.fraction == 1 and progress.num_done == 7
