"""DINOv2's weights by other names: as variables, and as transformers has them."""

import numpy as np

from osgan_jax.evaluation.features import dinov2 as extracting
from osgan_jax.io import published


def variables(network, tensors):
    """The variables of a network of tensors by published names."""
    taken = {name: array for name, array in tensors.items() if name != 'mask_token'}
    return published.convert(taken, extracting.published_tensors(network), 'weights')


def as_transformers(tensors, names):
    """Tensors by transformers' names: those of its releases up to 4, or of `names` in 5."""
    old = not any('.q_proj.' in name for name in names)
    found = {}
    for name, array in tensors.items():
        name = name.replace('patch_embed.proj', 'embeddings.patch_embeddings.projection')
        name = name.replace('pos_embed', 'embeddings.position_embeddings')
        name = name.replace('blocks.', 'encoder.layer.')
        for token in ('cls_token', 'mask_token'):
            name = name.replace(token, f'embeddings.{token}')
        for scale in '12':
            name = name.replace(f'ls{scale}.gamma', f'layer_scale{scale}.lambda1')
        name = name.replace('attn.proj', 'attention.output.dense' if old else 'attention.o_proj')
        if name.startswith('norm.'):
            name = f'layer{name}'
        if '.attn.qkv.' not in name:
            found[name] = array
            continue
        for part, word in zip(np.split(array, 3), ('query', 'key', 'value'), strict=True):
            there = f'attention.attention.{word}' if old else f'attention.{word[0]}_proj'
            found[name.replace('attn.qkv', there)] = part
    return found
