"""Formats of sound files by their suffix, and the error for one that cannot be decoded."""

from __future__ import annotations

import os
import shlex

from ..common.errors import SpectrimError

# What libsndfile decodes. Suffixes of data in general, such as .raw and .mat, are not listed.
SUFFIXES = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2",
    ".mpga", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".sph", ".nist", ".sf",
    ".ircam", ".paf", ".svx", ".8svx", ".avr", ".pvf", ".xi", ".sds", ".wve",
)  # fmt: skip
# Sound and video that needs another decoder.
OTHER_SUFFIXES = (
    ".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".aac", ".ac3", ".eac3", ".dts", ".webm",
    ".mkv", ".mka", ".avi", ".flv", ".mpg", ".mpeg", ".ogv", ".wma", ".wmv", ".asf", ".amr",
    ".awb", ".3gp", ".3g2", ".ape", ".wv", ".tta", ".mpc", ".dsf", ".dff", ".ra", ".rm", ".spx",
    ".aax", ".gsm",
)  # fmt: skip
_CONTENT = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4, mov)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75", "Windows Media"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (8, b"AVI ", "AVI"),
    (0, b"\x0b\x77", "AC-3"),
)  # place, bytes there, name of the format


def unreadable(name: str, error: Exception, head: bytes = b"") -> SpectrimError:
    """The error for a file that libsndfile does not decode.

    Args:
        name: of the file; error: of libsndfile.
        head: the first bytes of the file, to name its format.
    """
    suffix = os.path.splitext(name)[1]
    known = next((kind for place, text, kind in _CONTENT if head.startswith(text, place)), None)
    if known is None and suffix.lower() in OTHER_SUFFIXES:
        known = f"a file of type {suffix}"
    if known is not None:
        return undecodable(name, known)
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    return SpectrimError(
        f"{name}: not readable as sound ({reason}). Supported formats: WAV, FLAC, Ogg, Opus, MP3."
    )


def undecodable(name: str, kind: str) -> SpectrimError:
    """The error for a file whose format is known, but needs another decoder.

    Args:
        name: of the file; kind: its format in words.
    """
    stem = os.path.splitext(os.path.basename(name))[0].strip("()") or "sound"
    command = shlex.join(["ffmpeg", "-i", name, f"{stem}.wav"])
    return SpectrimError(
        f"{name}: {kind}, which Spectrim does not decode. Convert it first, for example with "
        f"{command}. Supported formats: WAV, FLAC, Ogg, Opus, MP3, AIFF and others of libsndfile."
    )
