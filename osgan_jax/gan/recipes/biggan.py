"""BigGAN (Brock et al. 2019, https://arxiv.org/abs/1809.11096): ImageNet's recipe, CIFAR-10's.

Both are its author's in PyTorch (https://github.com/ajbrock/BigGAN-PyTorch), which on ImageNet has
one D step a step of G; the paper has two, at half these rates. On CIFAR-10 labels have gains and
biases of their own there instead of a shared embedding.
"""

from osgan_jax.gan.recipes.recipe import Recipe, Setting

_SHARED = {
    'network': 'biggan',
    'optimizer': 'adam',
    'beta1': 0.0,
    'beta2': 0.999,
    'ema_decay': 0.9999,
}


def recipe(setting: Setting) -> Recipe:
    """The recipe of a dataset at a size."""
    if (setting.dataset, setting.image_size) == ('cifar10', 32):
        return Recipe(
            {
                **_SHARED,
                'batch_size': 50,
                'learning_rate_g': 2e-4,
                'learning_rate_d': 2e-4,
                'ema_start': 1000,
                'width': 64,
                'latent_dim': 128,
                'hierarchical_z': False,
                'init': 'normal',
                'd_steps': 4,
            },
            source="BigGAN's author in PyTorch, for CIFAR-10",
            epochs=500,
            lacks=('a gain and a bias of its own for each label',),
        )
    return Recipe(
        {
            **_SHARED,
            # An eighth of the published batch, which one machine does not hold.
            'batch_size': 256,
            'learning_rate_g': 1e-4,
            'learning_rate_d': 4e-4,
            'adam_epsilon': 1e-6,
            'ema_start': 20_000,
        },
        origin="rates and average are those of BigGAN's author in PyTorch on ImageNet, whose batch "
        'of 2,048 is not taken',
    )
