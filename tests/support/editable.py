"""Generators to edit, with weights drawn at random, and no run."""

import types

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import networks, reporting
from osgan_jax.gan import model, sampling
from osgan_jax.networks import biggan, dcgan, resnet_gan, stylegan2

CLASSES = 3
MODULES = {
    'stylegan2': lambda classes: stylegan2.Generator(
        8, 1, 6, w_dim=6, base_channels=64, max_channels=8, mapping_layers=2, num_classes=classes
    ),
    'biggan': lambda classes: biggan.Generator(
        32, 1, width=2, latent_dim=8, num_classes=classes, embedding_dim=4
    ),
    'resnet_gan': lambda classes: resnet_gan.Generator(32, 1, 6, classes, width=2),
    'dcgan': lambda classes: dcgan.Generator(16, 1, 6, classes, width=2),
}


class HandMade(sampling.Sampler):
    """A sampler without a run."""

    def __init__(self, name, classes):
        module = MODULES[name](classes)
        size = module.image_size
        self.gan = model.GAN(
            network=networks.get(name),
            generator=module.clone(axis_name='devices'),
            discriminator=None,
            loss=None,
            optimizer_g=None,
            optimizer_d=None,
            latent_dim=module.latent_dim,
            image_shape=(size, size, 1),
            num_classes=classes,
        )
        config = types.SimpleNamespace(
            method=name,
            image_size=size,
            channels=1,
            fit='crop',
            background='white',
            white_level=65535,
        )
        self.run = types.SimpleNamespace(class_names=(), config=config)
        self.step = 7
        shapes = jax.eval_shape(
            lambda: module.init(
                jax.random.key(0),
                jnp.zeros((1, module.latent_dim)),
                jnp.zeros(1, jnp.int32),
                train=False,
            )
        )
        rng = np.random.default_rng(0)

        def draw(path, leaf):
            """Everything random: noise that is seen, statistics that matter, labels that differ."""
            names = [key.key for key in path]
            if names[-1] == 'var':
                return np.float32(rng.uniform(0.5, 1.5, leaf.shape))
            # Layers that learn a hundredth as fast.
            scale = 100 if 'mapping_network' in names and names[-1] == 'kernel' else 0.5
            return np.float32(rng.normal(0, scale, leaf.shape))

        self.variables = jax.tree_util.tree_map_with_path(draw, shapes)
        if name == 'stylegan2':
            # Nothing bounds its images: to the middle of what can be seen.
            self.variables['params']['synthesis_network']['to_rgb_4']['bias'] -= 1.0
        self._jitted = {
            name: jax.jit(lambda *arrays, o=options: module.apply(self.variables, *arrays, **o))
            for name, options in {
                'images': {'train': False},
                'mapping': {'method': 'mapping'},
                'synthesis': {'method': 'synthesis'},
            }.items()
        }

    def direct(self, name, *arrays):
        """What the network itself makes, a row at a time."""
        arrays = [array for array in arrays if array is not None]
        rows = [
            self._jitted[name](*(array[row : row + 1] for array in arrays))
            for row in range(len(arrays[0]))
        ]
        return np.concatenate(rows)

    def plain(self, z, labels=None):
        """Images for people."""
        return reporting.to_uint8(self.direct('images', z, labels))

    def synthesised(self, ws):
        """Images for people of style vectors."""
        return reporting.to_uint8(self.direct('synthesis', ws))
