"""DINOv2 written out slowly, an image at a time, after the published code; and random weights."""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def draw(depth=2, width=32, grid=5, patch=14, seed=0):
    """Tensors by published names, as large as make every layer count."""
    rng = np.random.default_rng(seed)
    tensors = {
        'cls_token': rng.normal(size=(1, 1, width)),
        'pos_embed': rng.normal(size=(1, 1 + grid**2, width)),
        'mask_token': np.zeros((1, width)),
        'patch_embed.proj.weight': rng.normal(size=(width, 3, patch, patch)) / 20,
        'patch_embed.proj.bias': rng.normal(size=width),
    }

    def dense(name, outputs, inputs):
        tensors[f'{name}.weight'] = rng.normal(size=(outputs, inputs)) / math.sqrt(inputs)
        tensors[f'{name}.bias'] = rng.normal(size=outputs) / 5

    def norm(name):
        tensors[f'{name}.weight'] = rng.uniform(0.5, 1.5, width)
        tensors[f'{name}.bias'] = rng.normal(size=width) / 5

    for index in range(depth):
        block = f'blocks.{index}'
        norm(f'{block}.norm1')
        dense(f'{block}.attn.qkv', 3 * width, width)
        dense(f'{block}.attn.proj', width, width)
        norm(f'{block}.norm2')
        dense(f'{block}.mlp.fc1', 4 * width, width)
        dense(f'{block}.mlp.fc2', width, 4 * width)
        for part in ('ls1', 'ls2'):
            tensors[f'{block}.{part}.gamma'] = rng.uniform(0.2, 1, width)
    norm('norm')
    return {name: np.asarray(array, np.float32) for name, array in tensors.items()}


def class_token(tensors, image, *, heads, offset=0.1):
    """The normed class token `[C]` of `[H, W, 3]`, in float64."""
    t = {name: np.asarray(array, np.float64) for name, array in tensors.items()}
    weight = t['patch_embed.proj.weight']  # [C, 3, p, p]
    patch = weight.shape[-1]
    down, across = image.shape[0] // patch, image.shape[1] // patch
    tokens = [t['cls_token'][0, 0] + t['pos_embed'][0, 0]]
    for row in range(down):
        for column in range(across):
            part = image[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            embedded = (weight * part.transpose(2, 0, 1)).sum((1, 2, 3))
            position = _position(t['pos_embed'][0, 1:], row, column, down, across, offset)
            tokens.append(embedded + t['patch_embed.proj.bias'] + position)
    x = np.stack(tokens)
    width = x.shape[1]
    index = 0
    while f'blocks.{index}.norm1.weight' in t:
        block = f'blocks.{index}'
        qkv = _dense(t, f'{block}.attn.qkv', _norm(t, f'{block}.norm1', x))
        attended = []
        for head in range(heads):
            size = width // heads
            q, k, v = (
                qkv[:, part * width + head * size : part * width + (head + 1) * size]
                for part in range(3)
            )
            scores = np.exp(q @ k.T / math.sqrt(size))
            attended.append(scores / scores.sum(1, keepdims=True) @ v)
        out = _dense(t, f'{block}.attn.proj', np.concatenate(attended, 1))
        x = x + t[f'{block}.ls1.gamma'] * out
        hidden = _dense(t, f'{block}.mlp.fc1', _norm(t, f'{block}.norm2', x))
        hidden = hidden * (1 + _erf(hidden / math.sqrt(2))) / 2
        x = x + t[f'{block}.ls2.gamma'] * _dense(t, f'{block}.mlp.fc2', hidden)
        index += 1
    return _norm(t, 'norm', x)[0]


def _position(positions, row, column, down, across, offset):
    """The position of one patch: the trained one, or sixteen of them weighted."""
    grid = math.isqrt(len(positions))
    if down == across == grid:
        return positions[row * grid + column]
    y = (row + 0.5) * grid / (down + offset) - 0.5
    x = (column + 0.5) * grid / (across + offset) - 0.5
    total = 0
    for i in range(math.floor(y) - 1, math.floor(y) + 3):
        for j in range(math.floor(x) - 1, math.floor(x) + 3):
            inside = min(max(i, 0), grid - 1) * grid + min(max(j, 0), grid - 1)
            total = total + _keys(y - i) * _keys(x - j) * positions[inside]
    return total


def _keys(x, a=-0.75):
    """Keys 1981, equation 4."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0


def _dense(t, name, x):
    return x @ t[f'{name}.weight'].T + t[f'{name}.bias']


def _norm(t, name, x):
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / spread * t[f'{name}.weight'] + t[f'{name}.bias']
