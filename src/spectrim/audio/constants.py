"""Constants of Kaldi's filter bank; a separate module: reading sound must not import torch."""

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples: 25 ms
SHIFT = 160  # samples: 10 ms
FFT = 512
MELS = 128
LOW_HZ = 20.0
PRE_EMPHASIS = 0.97
SHORTEST = WINDOW / SAMPLE_RATE  # seconds of the shortest sound that models take
RESAMPLING_EDGE = 0.1  # seconds read beyond a window, for the edge of the resampling filter
LOG_FLOOR = 1.1920928955078125e-07  # float32 epsilon, as Kaldi


def seconds_to_read(samples: int, rate: int) -> float:
    """Seconds to decode of a clip whose first `samples` samples at `rate` Hz are needed."""
    return samples / rate + RESAMPLING_EDGE
