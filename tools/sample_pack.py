"""Make labelled synthetic audio: spoken digits over generated backgrounds.

    python tools/sample_pack.py words FOLDER [--count 3000] [--seed 0]
    python tools/sample_pack.py pack FOLDER [--per-digit 12] [--seed 0]

``words`` writes single words in the training voices, with no background: training mixes them with
``place`` on the fly.  ``pack`` writes finished clips in other voices, with a manifest that says
where in each clip the word is.  Nothing here is a recording.  Needs the espeak-ng program.
"""

import argparse
import csv
import functools
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile
import soxr

RATE = 16000  # samples per second
FRAMES = 128  # spectrogram frames of one clip: 25 ms windows (400 samples), 10 ms apart (160)
SAMPLES = (FRAMES - 1) * 160 + 400  # 20720 samples, 1.295 s
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHORTEST, LONGEST = 0.15, 0.9  # seconds: a spoken word outside this range is spoken anew
OGG_COMPRESSION = 0.7  # 0 is the best and largest, 1 the worst and smallest

# "en" is British.  espeak-ng 1.51 ignores the variant after "en-gb", one voice for all, so that
# voice would be heard in training and in the pack: it is left out.
ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029",
)  # fmt: skip

# espeak-ng's voice variants, by file name.  Many are near copies of each other (klatt2 and adam,
# Gene and Gene2), so variants were clustered by the distance of their cepstra over the ten digits
# and a whole cluster went to one side: a pack voice is no near copy of a training voice.  Left out
# are whispers, robots and echo effects, exact copies, and variants whose digits a nearest-neighbour
# classifier over the other variants took for other digits.
TRAIN_VARIANTS = (
    "Alex", "Annie", "Diogo", "Henrique", "Hugo", "Lee", "Mario", "Mike", "Nguyen", "Storm",
    "Tweaky", "adam", "anika", "aunty", "boris", "croak", "david", "edward", "f2", "f3", "f4",
    "f5", "grandma", "grandpa", "iven", "iven3", "iven4", "john", "kaukovalta", "klatt2",
    "klatt4", "linda", "m1", "m3", "m5", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel",
    "paul", "pedro", "rob", "robert",
)  # fmt: skip
PACK_VARIANTS = (
    "Andrea", "Andy", "AnxiousAndy", "Denis", "Gene", "Gene2", "Jacky", "Michael", "antonio",
    "belinda", "ed", "f1", "gustave", "m2", "m4", "norbert", "pablo", "quincy", "sandro",
    "shelby", "steph", "steph2", "travis", "victor",
)  # fmt: skip


# Speech


def trim(sound: np.ndarray, below_peak_db: float = 35.0) -> np.ndarray:
    """Cut the quiet ends off ``sound`` (n,): 10 ms RMS more than ``below_peak_db`` under its peak.

    5 ms are kept at either end, the reach of the RMS window, so trimming twice changes nothing.
    """
    reach = RATE // 200
    sums = np.cumsum(np.pad(np.square(sound, dtype=np.float64), (reach + 1, reach)))
    power = sums[2 * reach :] - sums[: -2 * reach]  # of the samples from -reach to reach - 1
    loud = np.flatnonzero(power > power.max() * 10 ** (-below_peak_db / 10))
    if not len(loud):
        return sound[:0]
    return sound[max(0, loud[0] - reach) : loud[-1] + reach + 1]


def _espeak(*arguments: str) -> bytes:
    """Run espeak-ng and return what it prints."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise RuntimeError("espeak-ng was not found; install it: apt-get install espeak-ng")
    done = subprocess.run([program, *arguments], capture_output=True, timeout=60)
    message = done.stderr.decode(errors="replace").strip()
    if done.returncode or (message and not done.stdout):
        raise RuntimeError(f"espeak-ng {' '.join(arguments)} failed: {message}")
    return done.stdout


def check_variants(variants: tuple[str, ...]) -> None:
    """Raise where espeak-ng lacks a variant: it would speak in its default voice unasked."""
    known = re.findall(r"!v/(\S+)", _espeak("--voices=variant").decode())
    missing = sorted(set(variants) - set(known))
    if missing:
        raise RuntimeError(f"this espeak-ng lacks the voice variants {', '.join(missing)}")


def speak(word: str, voice: str, pitch: int = 50, speed: int = 160) -> np.ndarray:
    """Speak ``word``: float32 (n,), mono, 16 kHz, the silence at both ends cut off.

    ``voice`` is an espeak-ng voice such as ``en-us+f2``, ``pitch`` 0 to 99, ``speed`` words/min.
    """
    data = _espeak("-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", word)
    at = data.find(b"data")  # the sizes in a WAV header sent to a pipe are not filled in
    if at < 0:
        raise RuntimeError(f"espeak-ng wrote no WAV for {word!r} as {voice!r}")
    rate = struct.unpack_from("<I", data, 24)[0]
    body = data[at + 8 :]
    sound = np.frombuffer(body[: len(body) // 2 * 2], "<i2").astype(np.float32) / 32768
    sound = trim(soxr.resample(sound, rate, RATE).astype(np.float32)) if len(sound) else sound
    if not len(sound):
        raise RuntimeError(f"espeak-ng spoke nothing for {word!r} as {voice!r}")
    return sound


def speak_any(word: str, voice: str, rng: np.random.Generator) -> np.ndarray:
    """Speak ``word`` at random pitch and speed, SHORTEST to LONGEST seconds long: float32 (n,)."""
    for _ in range(20):
        sound = speak(word, voice, int(rng.integers(20, 81)), int(rng.integers(110, 231)))
        if SHORTEST <= len(sound) / RATE <= LONGEST:
            return sound
    raise RuntimeError(f"{voice!r} never spoke {word!r} in {SHORTEST} to {LONGEST} s")


# Backgrounds: each takes (rng, samples) and returns a float array (samples,) of any level


@functools.lru_cache(maxsize=8)
def _frequencies(samples: int) -> np.ndarray:
    """Frequencies in Hz of a real FFT over at least ``samples`` samples, float32, 0 Hz as 20 Hz."""
    length = scipy.fft.next_fast_len(samples, real=True)
    return np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20).astype(np.float32)


def _noise(rng: np.random.Generator, samples: int, gain: np.ndarray) -> np.ndarray:
    """Noise whose spectrum has amplitude ``gain`` at ``_frequencies(samples)``: (samples,)."""
    spectrum = rng.standard_normal(2 * len(gain), dtype=np.float32).view(np.complex64) * gain
    return scipy.fft.irfft(spectrum)[:samples]


def _wander(
    rng: np.random.Generator, samples: int, per_second: float, low: float, high: float
) -> np.ndarray:
    """A slow curve between ``low`` and ``high``, with about ``per_second`` corners: (samples,)."""
    knots = int(samples / RATE * per_second) + 3
    places = np.arange(samples) * (per_second / RATE) + rng.random()
    return np.interp(places, np.arange(knots), rng.uniform(low, high, knots)).astype(np.float32)


def _periodic(rng: np.random.Generator, hz: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """A tone of momentary frequency ``hz`` (samples,) whose harmonics have ``amplitudes``."""
    spectrum = np.zeros(1025, np.complex64)  # one period of 2048 points, looked up by phase
    phases = np.exp(2j * np.pi * rng.random(len(amplitudes)))
    spectrum[1 : len(amplitudes) + 1] = amplitudes * phases
    period = scipy.fft.irfft(spectrum) * 1024
    return period[(np.cumsum(hz, dtype=np.float64) * (2048 / RATE)).astype(np.int64) & 2047]


def _harmonics(hz: float, slope: float, most: int = 60) -> np.ndarray:
    """Amplitudes n**-slope of the harmonics of ``hz`` that stay under 7 kHz."""
    return np.arange(1, max(2, min(most, int(7000 / hz)) + 1), dtype=np.float32) ** -slope


def white(rng: np.random.Generator, samples: int) -> np.ndarray:
    """White noise."""
    return rng.standard_normal(samples, dtype=np.float32)


def pink(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise that falls by about 3 dB per octave."""
    return _noise(rng, samples, _frequencies(samples) ** -rng.uniform(0.35, 0.65))


def brown(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise that falls by about 6 dB per octave, as of distant traffic."""
    return _noise(rng, samples, _frequencies(samples) ** -rng.uniform(0.8, 1.2))


def hum(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Mains hum with harmonics of random strength, over a little noise."""
    hz = float(rng.choice((50.0, 60.0))) * rng.uniform(0.995, 1.005)
    amplitudes = _harmonics(hz, rng.uniform(0.3, 1.2), int(rng.integers(4, 40)))
    tone = _periodic(rng, np.full(samples, hz), amplitudes * rng.random(len(amplitudes)))
    return tone + 0.1 * tone.std() * white(rng, samples)


def wind(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A band of noise, from 150 to 1500 Hz or so, that swells and falls slowly."""
    octaves = np.log2(_frequencies(samples) / np.exp(rng.uniform(np.log(150), np.log(1500))))
    band = _noise(rng, samples, np.exp(-0.5 * (octaves / rng.uniform(0.4, 1.2)) ** 2))
    return band * _wander(rng, samples, rng.uniform(1, 4), 0.1, 1.0)


def rain(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Drops: short decaying clicks at random times, over faint noise."""
    drops = np.zeros(samples, np.float32)
    count = int(rng.uniform(25, 400) * samples / RATE)
    drops[rng.integers(0, samples, count)] = rng.exponential(1.0, count)
    click = np.exp(-np.arange(64) / rng.uniform(4, 20)) * rng.standard_normal(64)
    return np.convolve(drops, click.astype(np.float32))[:samples] + 0.05 * white(rng, samples)


def beeps(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A steady row of beeps of one or two pitches, over faint noise."""
    steps = np.arange(samples) / RATE * rng.uniform(2, 9) + rng.random()
    pitches = rng.uniform(300, 3500, 2)
    hz = pitches[steps.astype(np.int64) % int(rng.integers(1, 3))]
    rise = np.clip((rng.uniform(0.3, 0.7) - np.abs(steps % 1 - 0.5) * 2) * 12, 0, 1)
    return _periodic(rng, hz, _harmonics(3500, 1.5)) * rise + 0.03 * white(rng, samples)


def chirps(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A pitch that sweeps up or down again and again, as of birds or a siren, over faint noise."""
    sweeps = np.arange(samples) / RATE * rng.uniform(1.5, 8) + rng.random()
    low, high = rng.permutation(rng.uniform(400, 3400, 2))
    swell = np.sin(np.pi * (sweeps % 1)) ** rng.uniform(0.2, 3)
    tone = _periodic(rng, low * (high / low) ** (sweeps % 1), _harmonics(3400, 2.0)) * swell
    return tone + 0.03 * white(rng, samples)


def engine(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A sawtooth-like drone whose pitch jitters and drifts, over a little brown noise."""
    base = rng.uniform(35, 160)
    hz = base * _wander(rng, samples, 2, 0.85, 1.15) * _wander(rng, samples, 60, 0.97, 1.03)
    drone = _periodic(rng, hz, _harmonics(base * 1.2, rng.uniform(0.8, 1.5)))
    rumble = brown(rng, samples)
    return drone + rng.uniform(0.05, 0.4) * drone.std() / rumble.std() * rumble


def babble(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Murmuring: speech-shaped noise and two voiced drones, each swelling in syllables."""
    gain = 1 / (1 + (_frequencies(samples) / 500) ** rng.uniform(1.2, 2))
    noise = _noise(rng, samples, gain)
    mix = noise / noise.std() * _wander(rng, samples, rng.uniform(4, 10), 0.1, 1.0)
    for _ in range(2):
        base = rng.uniform(90, 230)
        voiced = _periodic(
            rng, base * _wander(rng, samples, 5, 0.8, 1.2), _harmonics(base * 1.2, 1.3)
        )
        syllables = np.maximum(_wander(rng, samples, rng.uniform(5, 10), -0.6, 1.0), 0)
        mix += rng.uniform(0.4, 1.2) / voiced.std() * voiced * syllables
    return mix


BACKGROUNDS: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    white, pink, brown, hum, wind, rain, beeps, chirps, engine, babble,
)  # fmt: skip


def background(rng: np.random.Generator, samples: int = SAMPLES) -> np.ndarray:
    """A generated background of a random kind: float32 (samples,), unit RMS, 16 kHz."""
    sound = BACKGROUNDS[rng.integers(len(BACKGROUNDS))](rng, samples)
    return (sound / np.sqrt(np.mean(np.square(sound)) + 1e-20)).astype(np.float32)


# Clips


def place(
    word: np.ndarray, rng: np.random.Generator, samples: int = SAMPLES
) -> tuple[np.ndarray, float, float]:
    """Mix ``word``, float32 (n,) at 16 kHz from any source, into a background at a random place.

    Returns the clip, float32 (samples,) with its peak under 1, and the start and end of the word
    in it in seconds.  Silent ends are trimmed first, and a word longer than the clip is cut.
    Random: the word's level (-30 to -6 dBFS RMS, lowered where the peak demands it) and the ratio
    of word to background over the word (3 to 30 dB; one clip in ten, near silence, 40 to 60 dB).
    """
    word = trim(np.asarray(word, np.float32))[:samples].copy()
    if not len(word):
        raise ValueError("the word is silent")
    start = int(rng.integers(0, samples - len(word) + 1))
    ends = slice(start, start + len(word))
    fade = np.linspace(0, 1, min(48, len(word) // 2), dtype=np.float32)  # 3 ms: no click at a cut
    word[: len(fade)] *= fade
    word[len(word) - len(fade) :] *= fade[::-1]
    word *= 10 ** (rng.uniform(-30, -6) / 20) / np.sqrt(np.mean(np.square(word)))
    ratio_db = rng.uniform(40, 60) if rng.random() < 0.1 else rng.uniform(3, 30)
    clip = background(rng, samples)
    # A background with gaps may be almost silent under the word: it is then taken as half as loud
    # as on the whole, or the rest of it would be blown up.
    under = max(0.5, float(np.sqrt(np.mean(np.square(clip[ends])))))
    clip *= float(np.sqrt(np.mean(np.square(word)))) / under * 10 ** (-ratio_db / 20)
    clip[ends] += word
    clip *= min(1.0, 0.8 / float(np.abs(clip).max()))  # room for what Ogg Vorbis adds to a peak
    return clip, start / RATE, (start + len(word)) / RATE


# Files


def _write(path: Path, save: Callable[[Path], None]) -> None:
    """Have ``save`` write a temporary file beside ``path``, then rename it to ``path``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _set_ogg_serial(data: bytes, serial: int) -> bytes:
    """Give every page of an Ogg stream ``serial``: libsndfile draws a new one at each writing."""
    out, page = bytearray(data), 0
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    while page < len(out):
        end = page + 27 + out[page + 26]  # the header and a table of sizes, then that many bytes
        end += sum(out[page + 27 : end])
        struct.pack_into("<I", out, page + 14, serial)
        struct.pack_into("<I", out, page + 22, 0)  # the checksum counts itself as zero
        # Ogg's CRC-32 is zlib's with every byte and the result mirrored, and with no inversions.
        crc = zlib.crc32(out[page:end].translate(mirrored), 0xFFFFFFFF) ^ 0xFFFFFFFF
        struct.pack_into("<I", out, page + 22, int(f"{crc:032b}"[::-1], 2))
        page = end
    return bytes(out)


def write_ogg(path: Path, clip: np.ndarray, serial: int) -> None:
    """Write ``clip`` (n,) as Ogg Vorbis, the same bytes each time."""

    def save(temporary: Path) -> None:
        soundfile.write(
            temporary, clip, RATE, format="OGG", subtype="VORBIS", compression_level=OGG_COMPRESSION
        )
        temporary.write_bytes(_set_ogg_serial(temporary.read_bytes(), serial))

    _write(path, save)


def make_words(folder: Path, count: int, seed: int) -> int:
    """Write ``count`` training words as WAV files; return how many were not there before."""
    check_variants(TRAIN_VARIANTS)
    folder.mkdir(parents=True, exist_ok=True)

    def make(index: int) -> bool:
        rng = np.random.default_rng([seed, 0, index])
        word = WORDS[index % len(WORDS)]
        voice = f"{rng.choice(ACCENTS)}+{rng.choice(TRAIN_VARIANTS)}"
        path = folder / f"{word}_{voice}_{index:05d}.wav"
        if path.exists():
            return False
        sound = np.clip(speak_any(word, voice, rng), -1, 1)
        _write(path, lambda part: soundfile.write(part, sound, RATE, "PCM_16", format="WAV"))
        return True

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(make, range(count)))


def make_pack(folder: Path, per_digit: int, seed: int) -> int:
    """Write ``per_digit`` clips of each digit and ``manifest.csv``; return the number of clips."""
    check_variants(PACK_VARIANTS)
    folder.mkdir(parents=True, exist_ok=True)
    total = per_digit * len(WORDS)
    order = np.random.default_rng([seed, 1])
    rounds = -(-total // len(PACK_VARIANTS))  # all variants once a round: all are heard as often
    variants = np.concatenate([order.permutation(PACK_VARIANTS) for _ in range(rounds)])

    def make(index: int) -> tuple[str, str, str, str]:
        rng = np.random.default_rng([seed, 2, index])
        word = WORDS[index // per_digit]
        sound = speak_any(word, f"{rng.choice(ACCENTS)}+{variants[index]}", rng)
        clip, start, end = place(sound, rng)
        name = f"{word}-{index % per_digit:02d}.ogg"
        write_ogg(folder / name, clip, index)
        return name, word, f"{start:.3f}", f"{end:.3f}"

    with ThreadPoolExecutor(2) as pool:
        rows = sorted(pool.map(make, range(total)))

    def save(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("path", "label", "target_start", "target_end"))
            table.writerows(rows)

    _write(folder / "manifest.csv", save)
    return total


def main() -> None:
    """Read the command line and write the words or the pack."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, option, default, text in (
        ("words", "--count", 3000, "training words alone, as WAV files"),
        ("pack", "--per-digit", 12, "the sample pack: clips and manifest.csv"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path)
        command.add_argument(option, dest="number", type=int, default=default)
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.number < 1 or options.seed < 0:
        parser.error("the count must be 1 or more, and the seed 0 or more")
    make = make_words if options.command == "words" else make_pack
    try:
        made = make(options.folder, options.number, options.seed)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"sample_pack: {error}")
    print(f"{made} files written to {options.folder}")


if __name__ == "__main__":
    main()
