"""The names of the classifiers; without jax, which `--help` does not wait for."""

NAMES = (
    'resnet18',
    'resnet34',
    'wrn16_1',
    'wrn16_2',
    'wrn40_1',
    'wrn40_2',
    'lenet5',
    'lenet5_half',
)
"""Each is an entry of `osgan_jax.networks.classifiers`."""


def names() -> tuple[str, ...]:
    """The names that `osgan_jax.networks.classifiers.build` accepts."""
    return NAMES
