"""Numbers as files of tensors store them."""

import numpy as np

# By the names of safetensors. numpy has no bfloat16: its bits are read as integers, and become the
# upper half of a float32.
DTYPES = {
    'F64': np.dtype('<f8'),
    'F32': np.dtype('<f4'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype('<u2'),
    'I64': np.dtype('<i8'),
    'I32': np.dtype('<i4'),
    'U8': np.dtype('u1'),
}


def decode(content: bytes | bytearray | memoryview, dtype: str) -> np.ndarray:
    """Returns bytes as a vector of numbers; bfloat16 becomes float32."""
    numbers = np.frombuffer(content, DTYPES[dtype]) if len(content) else np.empty(0, DTYPES[dtype])
    return (numbers.astype('<u4') << 16).view('<f4') if dtype == 'BF16' else numbers
