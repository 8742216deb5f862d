"""Sound that libsndfile does not decode, by the `ffmpeg` on the PATH: one process per file.

FFmpeg opens addresses, playlists that name other files, and options where a file name is expected.
Here it may open local files only, of the listed containers only, and names start with "file:".
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ..common.errors import SpectrimNotice
from .sound_formats import DecodingFailed

NAME = "ffmpeg"
TIME_LIMIT = 60.0  # seconds that ffmpeg may take for the next piece of sound
PIECE_SECONDS = 10
LEAD = 2  # seconds decoded before a part, because a frame of AAC depends on the frame before
# FFmpeg's names of the containers in `sound_formats.OTHER_SUFFIXES`. Playlists (hls, concat, dash)
# are excluded, because they open other files.
CONTAINERS = (
    "aac,ac3,amr,amrnb,amrwb,ape,asf,avi,dsf,dts,eac3,flv,gsm,iff,matroska,webm,"
    "mov,mp4,m4a,3gp,3g2,mj2,mpc,mpc8,mpeg,mpegts,mpegvideo,ogg,rm,tta,wv"
)
AU_MAGIC, AU_HEADER, AU_FLOAT = b".snd", 24, 6  # the output format: a header, float32 big-endian
PROGRESS = b"out_time_us="


def is_available() -> bool:
    """Whether there is an `ffmpeg` on the PATH."""
    return shutil.which("ffmpeg") is not None


def pieces(
    path: Path, name: str, start: float, end: float | None, has_exact_times: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the first audio track of a file between `start` and `end` seconds.

    Args:
        name: of the file in notices.
        has_exact_times: whether times in the file are exact to the sample, so that ffmpeg may jump
            to `start`. Otherwise the file is decoded from its beginning. AAC may fill bands with
            random noise, which a jump changes; all else stays the same.

    Yields:
        The sampling rate in Hz and (samples, channels) float32, 10 s at a time.

    Raises:
        DecodingFailed: ffmpeg does not decode the file, or takes longer than `TIME_LIMIT`.
    """
    begin = max(0, math.floor(start) - LEAD) if has_exact_times and start < math.inf else 0
    jump = ["-ss", str(begin)] if begin else []
    output = ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with _running([*jump, *_input(path), *output]) as (process, messages):
        if (header := _au_header(process)) is not None:
            rate, channels = header
            position = begin * rate  # sample in the file that the next piece starts with
            first = round(start * rate) if start < math.inf else math.inf
            last = math.inf if end is None else round(end * rate)
            size = PIECE_SECONDS * rate * channels * 4
            while position < last and (data := _read(process, size)):
                count = len(data) // (4 * channels)
                samples = np.frombuffer(data, ">f4", count * channels).reshape(count, channels)
                kept = samples[_within(first - position, count) : _within(last - position, count)]
                position += count
                if len(kept):
                    yield rate, kept.astype(np.float32)
            if position >= last:
                return  # the rest of the file is not decoded
        status = _wait(process)
        reason = _first_message(messages)
    if status or (header is None and reason):
        raise DecodingFailed(reason or f"ffmpeg ended with status {status}")
    if reason:
        text = f"{name}: ffmpeg reports: {reason}. The file may be damaged or truncated."
        warnings.warn(SpectrimNotice(text), stacklevel=4)


def seconds(path: Path) -> float | None:
    """Length of the first audio track, from its packets, without decoding; None if unknown."""
    count = ["-c", "copy", "-f", "null", "-progress", "pipe:1", "-"]
    with _running([*_input(path), *count]) as (process, _):
        try:
            lines = _read(process, -1).splitlines()
            status = _wait(process)
        except DecodingFailed:
            return None
    times = [line.removeprefix(PROGRESS) for line in lines if line.startswith(PROGRESS)]
    if status or not times or not times[-1].isdigit():  # without sound, ffmpeg prints N/A
        return None
    return int(times[-1]) / 1e6


def _input(path: Path) -> list[str]:
    return [
        "-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS,
        "-i", f"file:{os.path.abspath(path)}", "-map", "0:a:0",
    ]  # fmt: skip


@contextlib.contextmanager
def _running(arguments: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process of ffmpeg, stopped at the end of the block, and the file of its messages.

    It has its own process group: Ctrl-C must not cut a sound, and a wrapper script must not leave
    its child behind.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise DecodingFailed("there is no ffmpeg on the PATH")
    command = [program, "-nostdin", "-hide_banner", "-v", "error", *arguments]
    with tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise DecodingFailed(f"{program} cannot be run: {error}") from error
        with process:
            try:
                yield process, messages
            finally:
                _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children; nothing if it has ended and was waited for."""
    if process.returncode is not None:
        return
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _read(process: subprocess.Popen[bytes], count: int) -> bytes:
    """The next `count` bytes of output, fewer at the end; -1: all.

    Raises:
        DecodingFailed: they take longer than the time limit. The process is killed.
    """
    assert process.stdout is not None
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        _stop(process)

    timer = threading.Timer(TIME_LIMIT, stop)
    timer.daemon = True
    timer.start()
    try:
        data = process.stdout.read(count)
    finally:
        timer.cancel()
    if is_late.is_set():
        raise DecodingFailed(_late())
    return data


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise DecodingFailed(_late()) from None


def _late() -> str:
    return f"ffmpeg gave no output for {TIME_LIMIT:g} s and was stopped"


def _au_header(process: subprocess.Popen[bytes]) -> tuple[int, int] | None:
    """Rate in Hz and channels of the output; None if there is no output."""
    data = _read(process, AU_HEADER)
    if len(data) < AU_HEADER:
        return None
    offset, _, encoding, rate, channels = struct.unpack(">5I", data[4:])
    if data[:4] != AU_MAGIC or encoding != AU_FLOAT or not rate or not channels:
        raise DecodingFailed("the output of ffmpeg is not sound")
    _read(process, offset - AU_HEADER)  # a text
    return rate, channels


def _within(position: float, count: int) -> int:
    """A position of a piece, limited to the piece."""
    return int(max(0, min(position, count)))


def _first_message(messages: IO[bytes]) -> str:
    """The first line that ffmpeg printed, which is the most exact, without its prefix."""
    messages.seek(0)
    lines = messages.read(4096).decode("utf-8", "replace").splitlines()
    line = next((line.strip() for line in lines if line.strip()), "")
    if line.startswith("[") and "] " in line:  # such as "[mov,mp4 @ 0x55d0] moov atom not found"
        line = line.partition("] ")[2]
    if "matches no streams" in line:
        line = "it has no sound track"
    return line.rstrip(".")
