"""Files that libsndfile does not decode: ffmpeg and torchcodec, their failures, and no path that
ffmpeg could take for an option, an address or a list of other files."""

from __future__ import annotations

import io
import itertools
import math
import os
import shutil
import socket
import subprocess
import sys
import types
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spectrim.audio import ffmpeg, torchcodec
from spectrim.audio.decode import duration_of, read
from spectrim.audio.encoded_files import decode_file
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.builtin import sample_pack
from spectrim.data.cache import Waveforms
from spectrim.data.manifest import read_data

RATE = 44_100
SECONDS = 5.0
FRAME = 2048  # samples: the longest frame of the codecs here
# Without noise substitution, whose random numbers depend on the frames decoded before.
AAC = ["-c:a", "aac", "-aac_pns", "0"]
OPUS = ["-c:a", "libopus", "-ar", "48000"]
FORMATS = {  # name of the file: arguments of ffmpeg, correlation with the WAV
    "a.m4a": (AAC, 0.97),
    "lossless.m4a": (["-c:a", "alac"], 0.99999),
    "a.aac": (AAC, 0.97),
    "a.webm": (OPUS, 0.97),
    "a.mka": (AAC, 0.97),
    "a.wma": (["-c:a", "wmav2"], 0.95),
    "a.3gp": (AAC, 0.97),
    "a.mov": (["-c:a", "pcm_s16le"], 0.99999),
    "a.ac3": (["-c:a", "ac3"], 0.95),
}


@pytest.fixture(scope="session")
def wav(tmp_path_factory):
    """Five seconds of the synthetic voice and noise, in two channels of different level."""
    clips = read_data(sample_pack()).clips[:9]
    voice = np.concatenate([read(clip.path, clip.start, clip.end) for clip in clips])
    times = np.arange(round(RATE * SECONDS)) / RATE
    voice = np.interp(times * 16_000, np.arange(len(voice)), voice)
    noise = np.random.default_rng(0).normal(0, 0.01, len(voice))
    path = tmp_path_factory.mktemp("encoded") / "a.wav"
    soundfile.write(path, np.stack([0.2 * voice, 0.8 * voice + noise], 1), RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="session")
def encoded(wav):
    """A function that encodes the voice with ffmpeg under a name."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg on the PATH: apt-get install ffmpeg")

    def encode(name: str, arguments: list[str] | None = None) -> Path:
        path = wav.parent / name
        if not path.exists():
            arguments = FORMATS[name][0] if arguments is None else arguments
            command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(wav), "-b:a", "160k"]
            done = subprocess.run([*command, *arguments, f"file:{path}"], stderr=subprocess.PIPE)
            if b"Unknown encoder" in done.stderr:
                pytest.skip(f"this ffmpeg encodes no {name}")
            assert done.returncode == 0, done.stderr
        return path

    return encode


@pytest.fixture(scope="session")
def decoded(encoded):
    """`decoded("a.m4a")`: sample rate and blocks of samples of a whole file, decoded once."""

    @cache
    def decoded(name: str) -> tuple[int, tuple[np.ndarray, ...]]:
        with encoded(name).open("rb") as file:
            rates, blocks = zip(*decode_file(file, name), strict=True)
        assert len(set(rates)) == 1
        return rates[0], blocks

    return decoded


@pytest.fixture(scope="session")
def samples(encoded):
    """`samples("a.m4a")`: what `read` returns for a whole file, decoded once."""
    return cache(lambda name: read(encoded(name)))


def lag_and_correlation(got: np.ndarray, expected: np.ndarray) -> tuple[int, float]:
    """By how many samples `got` is late, and the correlation there."""
    count = 1 << (len(got) + len(expected)).bit_length()
    spectra = np.fft.rfft(got, count) * np.conj(np.fft.rfft(expected, count))
    correlation = np.fft.irfft(spectra, count)
    lag = int(correlation.argmax())
    scale = math.sqrt(float((got**2).sum()) * float((expected**2).sum()))
    return lag if lag < count // 2 else lag - count, float(correlation.max()) / scale


@pytest.mark.parametrize("name", FORMATS)
def test_samples_rate_and_length_are_those_of_the_wav(encoded, decoded, samples, wav, name):
    rate, blocks = decoded(name)
    assert rate == (48_000 if name == "a.webm" else RATE)  # Opus has no other rate
    assert {block.shape[1] for block in blocks} == {2}
    assert abs(sum(map(len, blocks)) - SECONDS * rate) <= FRAME
    late, correlation = lag_and_correlation(samples(name), read(wav))
    assert abs(late) <= FRAME * 16_000 / RATE
    assert correlation > FORMATS[name][1]
    assert duration_of(encoded(name)) == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_as_a_file_that_ffmpeg_converted(encoded, samples, name):
    path = encoded(name)
    converted = path.with_name(f"{name}.wav")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", path, "-c:a", "pcm_f32le"]
    subprocess.run([*command, converted], check=True)
    assert np.array_equal(samples(name), read(converted))


def test_the_size_of_a_piece_changes_no_sample(encoded, decoded, monkeypatch):
    """By default, the file of 5 s is decoded in one piece."""
    monkeypatch.setattr(ffmpeg, "PIECE_SECONDS", 1)
    _, whole = decoded("a.m4a")
    with encoded("a.m4a").open("rb") as file:
        pieces = [block for _, block in decode_file(file, "a.m4a")]
    assert len(pieces) > 4 and len(whole) == 1
    assert np.array_equal(np.concatenate(pieces), whole[0])


MIDDLE = (3.21, 4.4)
PARTS = [(None, 1.3), (3.2, None), MIDDLE, (0.5, 99)]  # seconds: start, end
# In the normal run: the middle of every format, and every part of a.m4a and a.webm.
CASES = [
    pytest.param(
        name, *part,
        marks=() if part == MIDDLE or name in ("a.m4a", "a.webm") else pytest.mark.slow,
    )
    for name, part in itertools.product(FORMATS, PARTS)
]  # fmt: skip


@pytest.mark.parametrize(("name", "start", "end"), CASES)
def test_parts(encoded, decoded, monkeypatch, name, start, end):
    """The jump of MPEG-4 and the decoding from the beginning give the same samples."""
    monkeypatch.setattr(ffmpeg, "PIECE_SECONDS", 1)
    rate, blocks = decoded(name)
    whole = np.concatenate(blocks)
    with encoded(name).open("rb") as file:
        part = np.concatenate([block for _, block in decode_file(file, name, start or 0, end)])
    last = None if end is None else round(end * rate)
    assert np.abs(part - whole[round((start or 0) * rate) : last]).max() < 1e-6
    assert part.shape == whole[round((start or 0) * rate) : last].shape


def test_a_part_with_noise_substitution_is_the_same_sound(encoded):
    """The default of AAC encoders: the jump changes the random numbers of noisy bands only."""
    path = encoded("noisy.m4a", ["-c:a", "aac"])
    part, whole = read(path, 3.2), read(path)[round(3.2 * 16_000) :]
    late, correlation = lag_and_correlation(part, whole)
    assert late == 0 and correlation > 0.98


def test_a_part_behind_the_end_is_empty(encoded):
    for name in ("a.m4a", "a.webm"):
        with pytest.raises(SpectrimError, match=r"from 50 s to 60 s: is empty"):
            read(encoded(name), 50, 60)


def test_channels(encoded, wav):
    path = encoded("lossless.m4a")
    channels = {channel: read(path, channel=channel) for channel in (0, 1, "loudest", "mix")}
    for channel, waveform in channels.items():
        assert np.abs(waveform - read(wav, channel=channel)).max() < 1e-4
    assert np.array_equal(channels["loudest"], channels[1])
    with pytest.raises(SpectrimError, match="no channel 2"):
        read(path, channel=2)


def test_amr_of_a_phone(tmp_path, encoded):
    """AMR at 12.2 kbit/s: frames of a byte (mode 7) and 31 bytes, 160 samples at 8 kHz each."""
    rng = np.random.default_rng(0)
    frames = b"".join(b"\x3c" + rng.bytes(31) for _ in range(100))
    path = tmp_path / "voice.amr"
    path.write_bytes(b"#!AMR\n" + frames)
    with path.open("rb") as file:
        ((rate, block),) = decode_file(file, "voice.amr")
    assert (rate, block.shape) == (8000, (16_000, 1)) and np.abs(block).max() > 0
    assert len(read(path)) == 32_000


def test_bytes_files_and_zip_members(encoded, samples, tmp_path):
    path = encoded("a.m4a")
    expected = samples("a.m4a")
    archive = tmp_path / "a.zip"
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(archive, "w", kind) as file:
            file.write(path, "folder/phone.m4a")
        with zipfile.ZipFile(archive) as file, file.open("folder/phone.m4a") as member:
            assert np.array_equal(read(member), expected)
    with path.open("rb") as file:
        for sound in (path.read_bytes(), io.BytesIO(path.read_bytes()), file):
            assert np.array_equal(read(sound), expected)
    assert duration_of(path) == pytest.approx(SECONDS, abs=0.1)


def test_the_container_is_known_by_its_content(encoded, samples, tmp_path):
    for name in ("phone.wav", "phone"):
        shutil.copy(encoded("a.m4a"), tmp_path / name)
        assert np.array_equal(read(tmp_path / name), samples("a.m4a"))


@pytest.mark.parametrize(
    "name",
    [
        "-i.m4a",
        "-version.m4a",
        "concat:a|b.m4a",
        "http:x.m4a",
        "a%03d.m4a",
        "pipe:0.m4a",
        "ü \n.m4a",
    ],
)
def test_names_are_never_options_or_addresses(encoded, samples, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(encoded("a.m4a"), tmp_path / name)
    assert np.array_equal(read(name), samples("a.m4a"))


def test_playlists_open_no_other_file_and_no_address(encoded, tmp_path):
    target = encoded("a.aac")
    shutil.copy(target, tmp_path / "secret.aac")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.aac"
        head = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
        texts = [
            *(f"{head}{place}\n#EXT-X-ENDLIST\n" for place in (address, "secret.aac")),
            "ffconcat version 1.0\nfile secret.aac\n",
            f"<?xml version='1.0'?><MPD><BaseURL>{address}</BaseURL></MPD>",
        ]
        for text in texts:
            for suffix in (".m4a", ".wma", ".aac"):
                path = tmp_path / f"list{suffix}"
                path.write_text(text)
                with pytest.raises(SpectrimError, match="cannot be decoded"):
                    read(path)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_damaged_files_are_sentences(encoded, tmp_path, capfd):
    data = encoded("a.m4a").read_bytes()
    cut = tmp_path / "cut.m4a"
    cut.write_bytes(data[: len(data) // 2])  # the index is at the end
    with pytest.raises(SpectrimError, match=r"MPEG-4.*moov atom not found.*may be damaged"):
        read(cut)
    assert duration_of(cut) is None
    text = tmp_path / "text.m4a"
    text.write_text("this is no sound " * 99)
    with pytest.raises(
        SpectrimError, match=r"text\.m4a: cannot be decoded as a file of type \.m4a"
    ):
        read(text)
    front = encoded("front.m4a", [*AAC, "-movflags", "+faststart"])
    cut.write_bytes(front.read_bytes()[: front.stat().st_size * 3 // 4])
    with pytest.warns(SpectrimNotice, match="ffmpeg reports.*truncated"):
        assert 2 < len(read(cut)) / 16_000 < SECONDS
    assert not capfd.readouterr().err


def test_a_video_without_sound(encoded, tmp_path):
    path = tmp_path / "silent.mp4"
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=1", "-c:v", "mpeg4"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *picture, path], check=True)
    with pytest.raises(SpectrimError, match=r"silent\.mp4.*it has no sound track"):
        read(path)


def program(folder: Path, monkeypatch, text: str) -> Path:
    """A script as the only `ffmpeg`, and a file that needs it."""
    script = folder / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport os, sys, struct, time\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    path = folder / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    return path


HEADER = "sys.stdout.buffer.write(struct.pack('>4s5I', b'.snd', 24, 0xffffffff, 6, 8000, 1))"


@pytest.mark.parametrize(
    "text",
    [
        "time.sleep(1000)",
        f"{HEADER}; sys.stdout.buffer.write(bytes(400000)); sys.stdout.flush(); time.sleep(1000)",
        "import subprocess; subprocess.run([sys.executable, '-c', 'import time; time.sleep(1e3)'])",
    ],
)
def test_an_ffmpeg_that_hangs_is_stopped(tmp_path, monkeypatch, text):
    monkeypatch.setattr(ffmpeg, "TIME_LIMIT", 0.5)
    path = program(tmp_path, monkeypatch, text)
    with pytest.raises(SpectrimError, match=r"a\.m4a: .*gave no output for 0.5 s and was stopped"):
        read(path)
    assert duration_of(path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sys.exit(3)", "status 3"),
        ("print('[mov @ 0x5] bad atom', file=sys.stderr); sys.exit(1)", r"ffmpeg: bad atom\)"),
        ("print('x' * 999); sys.exit(0)", "is not sound"),
        (f"{HEADER}; sys.stdout.buffer.write(bytes(64000)); sys.stdout.flush(); os.abort()", "-6"),
    ],
)
def test_an_ffmpeg_that_fails(tmp_path, monkeypatch, text, words):
    with pytest.raises(SpectrimError, match=words):
        read(program(tmp_path, monkeypatch, text))


def test_no_process_is_left_behind(tmp_path, monkeypatch):
    """A caller that needs the beginning only stops ffmpeg, which would go on for ever."""
    place = tmp_path / "pid"
    path = program(
        tmp_path,
        monkeypatch,
        f"open({str(place)!r}, 'w').write(str(os.getpid()))\n{HEADER}\n"
        "while True: sys.stdout.buffer.write(bytes(32000))",
    )
    assert len(read(path, 0, 15)) == 15 * 16_000
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def test_without_a_decoder_the_ways_out_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torchcodec, "_decoder_class", lambda: None)
    path = tmp_path / "my voice.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    with pytest.raises(SpectrimError) as caught:
        read(path)
    for words in ("apt-get install ffmpeg", f"ffmpeg -i '{path}'"):
        assert words in str(caught.value)
    assert duration_of(path) is None


class FakeDecoder:
    """The interface of `torchcodec.decoders.AudioDecoder`, over 25 s of a ramp in two channels."""

    samples = torch.linspace(0, 0.9, 25 * 8000).repeat(2, 1) * torch.tensor([[1.0], [0.5]])
    metadata = types.SimpleNamespace(sample_rate=8000, duration_seconds=25.0)

    def __init__(self, source):
        self.source = source

    def get_samples_played_in_range(self, start, stop=None):
        """Channels first, as torchcodec documents it."""
        if start >= 25:
            raise RuntimeError("No audio frames were decoded. This is probably because start is")
        last = None if stop is None else round(stop * 8000)
        return types.SimpleNamespace(data=self.samples[:, round(start * 8000) : last])


def test_torchcodec_comes_before_ffmpeg(tmp_path, monkeypatch):
    path = program(tmp_path, monkeypatch, "sys.exit('ffmpeg was run')")
    monkeypatch.setattr(torchcodec, "_decoder_class", lambda: FakeDecoder)
    whole = FakeDecoder.samples.numpy()
    for start, end in ((0, None), (12.5, 24), (24, 99)):
        with path.open("rb") as file:
            rates, parts = zip(*decode_file(file, "a.m4a", start, end), strict=True)
        expected = whole[:, round(start * 8000) : None if end is None else round(end * 8000)].T
        assert np.array_equal(np.concatenate(parts), expected) and set(rates) == {8000}
    assert duration_of(path) == 25.0


def test_ffmpeg_comes_after_a_torchcodec_that_fails(encoded, samples, monkeypatch):
    def fail(path):
        raise RuntimeError("no codec\nand many lines")

    expected = samples("a.m4a")
    monkeypatch.setattr(torchcodec, "_decoder_class", lambda: fail)
    assert np.array_equal(read(encoded("a.m4a")), expected)


def test_torchcodec_never_gets_a_playlist(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(torchcodec, "_decoder_class", lambda: FakeDecoder)
    path = tmp_path / "list.m4a"
    path.write_text("#EXTM3U\nhttp://127.0.0.1/a.aac\n")
    with pytest.raises(SpectrimError, match="needs FFmpeg"):
        read(path)


def test_the_real_torchcodec(encoded):
    if not torchcodec.is_available():
        pytest.skip("needs torchcodec and the libraries of FFmpeg: pip install torchcodec")
    path = encoded("a.m4a")
    parts = [part for _, part in torchcodec.pieces(path, "a.m4a", 0.0, None, True)]
    by_ffmpeg = [part for _, part in ffmpeg.pieces(path, "a.m4a", 0.0, None, True)]
    both = np.concatenate(parts), np.concatenate(by_ffmpeg)
    count = min(map(len, both))
    assert max(map(len, both)) - count <= FRAME
    assert np.abs(both[0][:count] - both[1][:count]).max() < 1e-3


def test_manifests_folders_and_the_cache(encoded, tmp_path):
    for name in ("a.m4a", "a.webm"):
        shutil.copy(encoded(name), tmp_path / name)
    (tmp_path / "m.csv").write_text("path,label,start,end\na.m4a,x,1,2\na.webm,y,,\na.m4a,x,3.5,\n")
    clips = read_data(tmp_path / "m.csv").clips
    expected = [read(clip.path, clip.start, clip.end) for clip in clips]
    cached = Waveforms(clips, tmp_path / "cache")
    for _ in range(2):  # decoded, then mapped
        for position, waveform in enumerate(expected):
            assert np.array_equal(cached[position], waveform)
    assert [clip.path.name for clip in read_data(tmp_path).clips] == ["a.m4a", "a.webm"]
    assert [clip.path.name for clip in read_data(tmp_path / "a.webm").clips] == ["a.webm"]
