"""Constants of the filter bank; a separate module, because reading sound must not import torch."""

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples: 25 ms
SHIFT = 160  # samples: 10 ms
FFT = 512
MELS = 128
LOW_HZ = 20.0
PRE_EMPHASIS = 0.97
RESAMPLING_EDGE = 0.1  # seconds read beyond a window, for the edge of the resampling filter
LOG_FLOOR = 1.1920928955078125e-07  # float32 epsilon, as Kaldi


def num_frames(samples: int) -> int:
    """Number of whole windows in `samples` samples (Kaldi's snip edges)."""
    return 0 if samples < WINDOW else 1 + (samples - WINDOW) // SHIFT


def num_samples(frames: int) -> int:
    """Number of samples that `frames` frames span."""
    return (frames - 1) * SHIFT + WINDOW


def seconds_to_read(samples: int) -> float:
    """Seconds to decode of a clip whose first `samples` samples at 16 kHz are needed."""
    return samples / SAMPLE_RATE + RESAMPLING_EDGE
