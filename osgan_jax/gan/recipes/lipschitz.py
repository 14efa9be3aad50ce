"""WGAN-GP and SNGAN with its residual networks, as their authors trained them."""

from osgan_jax.gan.recipes.recipe import Recipe, Setting


def wgan_gp(setting: Setting) -> Recipe:
    """WGAN-GP (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028), Algorithm 1."""
    del setting
    return Recipe(
        {
            'optimizer': 'adam',
            'batch_size': 64,
            'learning_rate_g': 1e-4,
            'learning_rate_d': 1e-4,
            'beta1': 0.0,
            'beta2': 0.9,
            'gradient_penalty': 10.0,
            'd_steps': 5,
        },
        source='Gulrajani et al. 2017, Algorithm 1, whatever the dataset; networks and length ours',
    )


def sngan_resnet(setting: Setting) -> Recipe:
    """SNGAN's residual networks (Miyato et al. 2018, https://arxiv.org/abs/1802.05957), CIFAR-10's.

    Batch, z and length are those of its authors' code
    (https://github.com/pfnet-research/sngan_projection).
    """
    fields = {
        'network': 'resnet_gan',
        'optimizer': 'adam',
        'batch_size': 64,
        'learning_rate_g': 2e-4,
        'learning_rate_d': 2e-4,
        'beta1': 0.0,
        'beta2': 0.9,
        'latent_dim': 128,
        'd_steps': 5,
        # To 0 over the run, as long as it is.
        'schedule': 'linear',
        'learning_rate_g_final': 0.0,
        'learning_rate_d_final': 0.0,
    }
    if (setting.dataset, setting.image_size) != ('cifar10', 32):
        return Recipe(
            fields,
            origin='they are those of Miyato et al. 2018 on CIFAR-10',
        )
    return Recipe(
        fields | {'num_steps': 50_000},
        source='Miyato et al. 2018, for CIFAR-10',
        lacks=("twice as many fake images for G's update",),
    )
