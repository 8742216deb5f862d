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
# Sound and video that libsndfile does not decode.
OTHER_SUFFIXES = (
    ".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".aac", ".ac3", ".eac3", ".dts", ".webm",
    ".mkv", ".mka", ".avi", ".flv", ".mpg", ".mpeg", ".ogv", ".wma", ".wmv", ".asf", ".amr",
    ".awb", ".3gp", ".3g2", ".ape", ".wv", ".tta", ".mpc", ".dsf", ".dff", ".ra", ".rm", ".spx",
    ".aax", ".gsm",
)  # fmt: skip
OGG = b"OggS"
INSTALL = "Install ffmpeg (apt-get install ffmpeg, brew install ffmpeg or winget install ffmpeg)"
_CONTENT = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4, mov)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"\x30\x26\xb2\x75", "Windows Media"),
    (0, b"#!AMR", "AMR"),
    (0, b"\xff\xf0", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf8", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (8, b"AVI ", "AVI"),
    (0, b"\x0b\x77", "AC-3"),
    (28, b"\x7fFLAC", "FLAC in Ogg"),
    (28, b"Speex", "Speex in Ogg"),
)  # offset, bytes there, name of the format


class ForeignFormat(SpectrimError):
    """A file that libsndfile does not decode, and another decoder may."""


class DecodingFailed(Exception):
    """A decoder other than libsndfile cannot decode a file; the text says why."""


def format_of_content(head: bytes) -> str | None:
    """The format of a file that libsndfile does not decode, by its first bytes, in words."""
    return next((name for offset, text, name in _CONTENT if head.startswith(text, offset)), None)


def is_mpeg4(head: bytes) -> bool:
    """Whether a file with these first bytes is MPEG-4, whose times are exact to the sample."""
    return head.startswith(b"ftyp", 4)


def unreadable(name: str, error: Exception, head: bytes = b"") -> SpectrimError:
    """The error for a file that libsndfile does not decode.

    Args:
        name: of the file; error: of libsndfile.
        head: the first bytes of the file, to name its format.
    """
    suffix = os.path.splitext(name)[1].lower()
    content = format_of_content(head)
    if content is None and suffix in OTHER_SUFFIXES:
        content = f"a file of type {suffix}"
    if content is not None:
        return undecodable(name, content)
    reason = getattr(error, "error_string", str(error)).rstrip(".")
    # libsndfile 1.2.2 refuses the last second of some correct Opus files.
    kind = ForeignFormat if head.startswith(OGG) else SpectrimError
    return kind(
        f"{name}: not readable as sound ({reason}). Supported formats: WAV, FLAC, Ogg, Opus, MP3, "
        "and with FFmpeg also m4a, aac, webm, wma, amr."
    )


def undecodable(name: str, content: str) -> ForeignFormat:
    """The error for a file whose format is known, but needs another decoder.

    Args:
        name: of the file; content: its format in words.
    """
    stem = os.path.splitext(os.path.basename(name))[0].strip("()") or "sound"
    command = shlex.join(["ffmpeg", "-i", name, f"{stem}.wav"])
    return ForeignFormat(
        f"{name}: {content}, which needs FFmpeg. {INSTALL}, or convert the file where FFmpeg is "
        f"installed: {command}"
    )
