"""Files whose header states too little, joined files, and what their decoders print."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_decode import sweep, written

from spectrim.audio.decode import duration_of, read
from spectrim.audio.mp3 import frame_length
from spectrim.common.errors import SpectrimError, SpectrimNotice

RATE = 16_000


def notes_of(call):
    """The result of a call, and the notices that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if w.category is SpectrimNotice]


def noise_then_silence(seconds: float = 9.0) -> np.ndarray:
    """Three seconds of noise, then silence: its first frames are larger than most."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    samples[: 3 * RATE] = np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    samples[-RATE:] = sweep(RATE, 1)
    return samples


def variable_mp3(samples: np.ndarray, has_length: bool = True) -> bytes:
    """An MP3 of variable bit rate; its first frame states the length, unless it is removed."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", RATE, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as out:
        out.write(samples)
    data = file.getvalue()
    assert b"Xing" in data[:64]
    length = frame_length(data[:4])
    assert length is not None
    return data if has_length else data[length:]


def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path):
    samples = noise_then_silence()
    path = tmp_path / "vbr.mp3"
    path.write_bytes(variable_mp3(samples, has_length=False))
    assert soundfile.info(path).duration < 7, "libsndfile guesses too little"
    whole, notes = notes_of(lambda: read(path))
    assert abs(len(whole) / RATE - 9) < 0.2 and not notes
    assert whole[-RATE // 2 :].std() > 0.1, "the sweep at the end"
    assert duration_of(path) == pytest.approx(9, abs=0.2), "its frames are counted"
    # A part, also one behind what libsndfile guesses.
    part = read(path, 7.5, 8.5)
    assert len(part) == RATE
    assert np.abs(part - whole[round(7.5 * RATE) : round(8.5 * RATE)]).max() < 1e-4
    with pytest.raises(SpectrimError, match="is empty"):
        read(path, 20)


@pytest.mark.parametrize("lengths", [(True, True), (True, False), (False, True), (False, False)])
def test_joined_mp3_files_are_read_to_the_end(lengths):
    first, second = noise_then_silence(5), sweep(RATE, 2)
    pieces = [
        variable_mp3(samples, has_length)
        for samples, has_length in zip((first, second), lengths, strict=True)
    ]
    whole, notes = notes_of(lambda: read(b"".join(pieces)))
    assert abs(len(whole) / RATE - 7) < 0.3 and not notes
    # A frame more or less may lie between them.
    last = read(pieces[1])[-RATE:]
    alike = np.correlate(whole[-2 * RATE :], last, "valid").max() / np.square(last).sum()
    assert alike > 0.97
    tagged = pieces[0] + b"TAG" + bytes(125) + pieces[1] + b"TAG" + bytes(125)
    assert abs(len(read(tagged)) / RATE - 7) < 0.3


def test_joined_mp3_files_of_other_rates_and_a_damaged_middle(capfd):
    slow, fast = variable_mp3(sweep(RATE, 2), False), written(sweep(44_100, 2), 44_100, "MP3", None)
    assert abs(len(read(slow + fast)) / RATE - 4) < 0.3
    junk = np.random.default_rng(1).bytes(20_000)
    whole, notes = notes_of(lambda: read(slow + junk + fast))
    assert abs(len(whole) / RATE - 4) < 0.3
    assert len(notes) == 1 and "bytes behind byte" in notes[0]
    assert not capfd.readouterr().err


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_files_are_read_to_the_end(tmp_path, subtype):
    first, second = sweep(RATE, 3), sweep(RATE, 2)[::-1].copy()
    streams = [written(samples, RATE, "OGG", subtype) for samples in (first, second)]
    path = tmp_path / "chained.ogg"
    path.write_bytes(b"".join(streams))
    apart = np.concatenate([read(stream) for stream in streams])
    whole, notes = notes_of(lambda: read(path))
    assert np.array_equal(whole, apart) and len(whole) == 5 * RATE and not notes
    assert duration_of(path) == 5.0
    for start, end in ((2.5, 3.5), (3.5, 4.5), (4.25, None), (0.5, 2.0)):
        part = read(path, start, end)
        expected = whole[round(start * RATE) : None if end is None else round(end * RATE)]
        assert len(part) == len(expected)
        assert np.abs(part - expected).max() < 1e-3
    same_stream_twice = read(streams[1] + streams[1])
    assert len(same_stream_twice) == 4 * RATE
    # Streams of other rates and channels, and one that cannot be decoded.
    stereo = written(np.stack([sweep(44_100, 1)] * 2, 1), 44_100, "OGG", "VORBIS")
    assert abs(len(read(streams[0] + stereo)) - 4 * RATE) <= 2
    broken = bytearray(stereo)
    broken[28:40] = bytes(12)
    whole, notes = notes_of(lambda: read(streams[0] + bytes(broken)))
    assert len(whole) == 3 * RATE
    assert len(notes) == 1 and "were left out" in notes[0]


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_joined_files_are_read_to_the_end(tmp_path, format, seconds):
    """Also if the first file is shorter than what a decoder reads ahead."""
    rng = np.random.default_rng(0)
    parts = [rng.uniform(-0.5, 0.5, int(16_000 * length)) for length in (seconds, 1.0, 0.25)]
    path, files = tmp_path / f"joined.{format.lower()}", []
    for samples in parts:
        file = io.BytesIO()
        soundfile.write(file, samples, 16_000, "PCM_16", format=format)
        files.append(file.getvalue())
    path.write_bytes(b"".join(files))
    whole = np.concatenate(parts)
    samples, notes = notes_of(lambda: read(path))
    assert notes == [] and len(samples) == len(whole)
    np.testing.assert_allclose(samples, whole, atol=1e-4)
    # A part across the first border, and one behind it.
    for start, end in ((seconds - 0.25, seconds + 0.5), (seconds + 0.25, seconds + 1.1)):
        expected = whole[int(start * 16_000) : round(end * 16_000)]
        np.testing.assert_allclose(read(path, start, end), expected, atol=1e-4)
    assert duration_of(path) == pytest.approx(seconds + 1.25)


def wav(data: bytes, stated: int, before: bytes = b"", after: bytes = b"", order="<") -> bytes:
    """A 16-bit WAV whose header states `stated` bytes of sound."""
    body = b"fmt " + struct.pack(f"{order}IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body += before + b"data" + struct.pack(f"{order}I", stated) + data + after
    name = b"RIFF" if order == "<" else b"RIFX"
    return name + struct.pack(f"{order}I", 4 + len(body)) + b"WAVE" + body


LIST = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + bytes(4)
PCM = (sweep(RATE, 1) * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("before", [b"", LIST, LIST + b"bext" + struct.pack("<I", 3) + b"abc\0"])
def test_a_wav_that_states_0_bytes_is_read_to_its_end(tmp_path, before):
    path = tmp_path / "crashed.wav"
    path.write_bytes(wav(PCM, 0, before))
    samples, notes = notes_of(lambda: read(path))
    assert np.array_equal(samples, read(wav(PCM, len(PCM))))
    assert len(notes) == 1 and str(path) in notes[0] and "states 0 bytes" in notes[0]
    assert duration_of(path) == 1.0
    part, _ = notes_of(lambda: read(path, 0.25, 0.5))
    assert np.array_equal(part, samples[RATE // 4 : RATE // 2])


def test_other_headers_of_length_0(tmp_path):
    big = wav(PCM[::-1], 0, order=">")  # RIFX, and sample by sample in the other order
    samples, notes = notes_of(lambda: read(big))
    assert len(samples) == RATE and len(notes) == 1
    au = bytearray(written(sweep(RATE, 1), RATE, "AU", "PCM_16"))
    au[8:12] = bytes(4)
    samples, notes = notes_of(lambda: read(bytes(au)))
    assert len(samples) == RATE and len(notes) == 1
    long = bytearray(written(sweep(RATE, 1), RATE, "RF64", "PCM_16"))
    place = long.find(b"ds64")
    long[place + 16 : place + 32] = bytes(16)
    samples, notes = notes_of(lambda: read(bytes(long)))
    assert len(samples) == RATE and len(notes) == 1


@pytest.mark.parametrize("kind", ["wav", "RF64", "FLAC", "OGG", "AIFF", "AU", "MP3", "W64", "CAF"])
def test_a_file_that_ends_in_its_header_is_a_sentence(tmp_path, kind, monkeypatch):
    """Cut after each of its first bytes; a header alone is no sound."""
    monkeypatch.setenv("PATH", "")  # a process of FFmpeg per length would take long
    samples = sweep(RATE, 1)[:800]
    whole = wav(PCM[:1600], 1600, LIST) if kind == "wav" else written(samples, RATE, kind, None)
    for length in range(1, min(len(whole), 120)):
        (tmp_path / "cut").write_bytes(whole[:length])
        duration_of(tmp_path / "cut")
        with pytest.raises(SpectrimError):
            read(tmp_path / "cut")


def test_a_wav_without_sound_is_empty_and_chunks_behind_the_sound_are_not_sound():
    for data in (wav(b"", 0), wav(b"", 0, after=LIST)):
        with pytest.raises(SpectrimError, match="is empty"):
            read(data)
    samples, notes = notes_of(lambda: read(wav(PCM, len(PCM), after=LIST * 3)))
    assert len(samples) == RATE and not notes


def test_bytes_behind_the_stated_sound_are_reported():
    samples, notes = notes_of(lambda: read(wav(PCM, len(PCM) // 2)))
    assert len(samples) == RATE // 2
    assert len(notes) == 1 and f"{len(PCM) // 2} more bytes follow" in notes[0]
    flac = bytearray(written(sweep(RATE, 20), RATE, "FLAC", "PCM_16"))
    flac[22:26] = struct.pack(">I", RATE)  # of its 320,000 samples
    samples, notes = notes_of(lambda: read(bytes(flac)))
    assert len(samples) == RATE
    assert len(notes) == 1 and "states 1.0 s of sound" in notes[0]


def damaged_vorbis() -> bytes:
    """A Vorbis file with a damaged codebook and right checksums."""
    data = bytearray(written(sweep(RATE, 2), RATE, "OGG", "VORBIS"))
    place = data.find(b"\x05vorbis") + 60
    data[place : place + 40] = bytes(range(40))
    return with_checksums(data)


def with_checksums(data: bytearray) -> bytes:
    """An Ogg file with the right checksum (CRC-32, polynomial 0x04C11DB7) in each page."""
    position = 0
    while data[position : position + 4] == b"OggS":
        segments = data[position + 26]
        size = 27 + segments + sum(data[position + 27 : position + 27 + segments])
        data[position + 22 : position + 26] = bytes(4)
        remainder = 0
        for byte in data[position : position + size]:
            remainder ^= byte << 24
            for _ in range(8):
                remainder = (remainder << 1) ^ (0x04C11DB7 if remainder >> 31 else 0)
            remainder &= 0xFFFFFFFF
        data[position + 22 : position + 26] = struct.pack("<I", remainder)
        position += size
    return bytes(data)


def test_a_damaged_ogg_read_from_the_middle_does_not_end_the_process(tmp_path):
    """In a process of its own, which the decoder ended with SIGSEGV."""
    files = [tmp_path / "made.ogg"]
    files[0].write_bytes(damaged_vorbis())
    given = Path(__file__).parents[3] / "shared" / "cases" / "vorbis-crash-when-seeking.ogg"
    files += [given] if given.is_file() else []
    script = (
        "import sys; from spectrim.audio.decode import read\n"
        "for path in sys.argv[1:]:\n"
        "    for start in (None, 0.3, 0.5):\n"
        "        try: read(path, start)\n"
        "        except ValueError as error: assert path in str(error); print('sentence')\n"
    )
    run = [sys.executable, "-W", "ignore", "-c", script, *map(str, files)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.split() == ["sentence"] * 3 * len(files)


def test_decoders_do_not_write_to_stderr(tmp_path):
    """Of mpg123, and of a callback that must not raise; other text is kept."""
    good = variable_mp3(sweep(RATE, 4), has_length=False)
    bad = bytearray(good)
    for place in range(2000, len(bad), 700):
        bad[place : place + 30] = bytes(30)
    path = tmp_path / "bad.mp3"
    path.write_bytes(bad)
    script = (
        "import os, sys; from spectrim.audio.decode import read\n"
        "from spectrim.audio.stderr import without_decoder_messages\n"
        "try: read(sys.argv[1])\n"
        "except ValueError: pass\n"
        "try: read(bytes.fromhex(sys.argv[2]))\n"
        "except ValueError: pass\n"
        "with without_decoder_messages():\n"
        "    os.write(2, b'Note: Trying to resync...\\nkept\\n'); print('too', file=sys.stderr)\n"
    )
    seek = b"FORM\0\0\0\x0eAIFFCOMM\0\0\0\x12\0\x01\0\0g\\"  # libsndfile seeks before the beginning
    run = [sys.executable, "-W", "ignore", "-c", script, str(path), seek.hex()]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "kept\ntoo\n"


def test_a_file_that_fails_while_it_is_read_is_an_error_and_not_a_short_sound(tmp_path):
    class Failing(io.BytesIO):
        def read(self, count=-1):
            if self.tell() > 8000:
                raise OSError(5, "Input/output error")
            return super().read(count)

    with pytest.raises(SpectrimError, match="Input/output error"):
        read(Failing(wav(PCM, len(PCM))))


@pytest.mark.skipif(os.name == "nt", reason="POSIX devices")
def test_what_is_no_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.wav")
    for path, words in (
        ("-", "standard input is not read"),
        ("/dev/stdin", "standard input is not read"),
        ("/dev/zero", "is a device"),
        ("pipe.wav", "is a pipe"),
        ("https://host/a.wav", r"^https://host/a\.wav: addresses are not fetched"),
        (Path("https://host/a.wav"), r"^https://host/a\.wav: addresses are not fetched"),
        (Path("file:///a/b.wav"), r"^file:///a/b\.wav: addresses are not fetched"),
        ("n" * 300, "too long"),
        ("~nosuchuser/a.wav", "no such file"),
    ):
        with pytest.raises(SpectrimError, match=words):
            read(path)


def test_bytes_of_every_kind():
    data = wav(PCM, len(PCM))
    for sound in (bytearray(data), memoryview(data)):
        assert len(read(sound)) == RATE


@pytest.mark.parametrize(
    ("head", "suffix", "words"),
    [
        (b"\0\0\0\x20ftypM4A ", ".m4a", r"MPEG-4 .*ffmpeg -i .*a\.m4a a\.wav"),
        (b"\x1a\x45\xdf\xa3", ".webm", "Matroska or WebM"),
        (b"\0\0\0\x20ftypM4A ", ".wav", "MPEG-4"),  # by content, whatever the suffix
        (b"?", ".wma", r"a file of type \.wma"),
        (b"?", ".wav", "not readable as sound"),
    ],
)
def test_formats_of_other_decoders_name_the_way_out(tmp_path, monkeypatch, head, suffix, words):
    monkeypatch.setenv("PATH", "")  # without ffmpeg
    path = tmp_path / f"a{suffix}"
    path.write_bytes(head + bytes(5000))
    with pytest.raises(SpectrimError, match=words):
        read(path)
