"""Tables 2 to 4 of Tian et al. 2024 (https://arxiv.org/abs/2112.06502): the parts repeated here.

Inference was timed on a V100 with batches of 48, the mean of 200 runs. BigGAN's multiplications
are as printed; they are 20 to 73 times those of its layers at 128 pixels.
"""

from typing import NamedTuple


class Printed(NamedTuple):
    """One line of the paper's tables; None for what it does not print.

    Attributes:
      parameters: millions, of the generator.
      macs: thousand millions, of the generator.
      seconds: inference of a batch of 48.
      ppl_cropped: perceptual path length, images cropped to their centre.
      ppl: not cropped.
      fid: of DGL-GAN; of the uncompressed network as its authors trained it at multiplier 1.
    """

    parameters: float
    macs: float
    seconds: float | None = None
    ppl_cropped: float | None = None
    ppl: float | None = None
    fid: float | None = None


class Studied(NamedTuple):
    """A network whose generators the paper compresses.

    Attributes:
      image_size: pixels, by default.
      multipliers: channel multipliers, as text.
      num_classes: labels, 0 for an unconditional network.
    """

    image_size: int
    multipliers: tuple[str, ...]
    num_classes: int = 0


STUDIED = {
    'stylegan2': Studied(256, ('1', '1/2', '1/4', '1/8')),
    'biggan': Studied(128, ('1', '1/2', '1/3', '1/4'), num_classes=1000),
}
"""By network; BigGAN with ImageNet's labels."""


PRINTED: dict[tuple[str, int], dict[str, Printed]] = {
    ('stylegan2', 1024): {
        '1': Printed(30.37, 142.02, 1.49, 129.4, 145.0, 2.84),
        '1/2': Printed(11.08, 35.61, 0.67, 129.6, 164.5, 2.97),
        '1/4': Printed(5.39, 8.97, 0.43, 149.2, 163.1, 4.75),
        '1/8': Printed(3.55, 2.28, 0.34, 228.5, 223.6, 8.13),
    },
    ('stylegan2', 256): {
        '1': Printed(30.03, 83.79, fid=3.86),
        '1/2': Printed(10.93, 20.99, fid=3.78),
        '1/4': Printed(5.33, 5.28, fid=5.97),
        '1/8': Printed(3.52, 1.34, fid=11.46),
    },
    ('biggan', 128): {
        '1': Printed(70.33, 432.98, fid=8.7),
        '1/2': Printed(18.38, 211.35, fid=9.92),
        '1/3': Printed(8.54, 139.76, fid=12.83),
        '1/4': Printed(5.03, 104.39, fid=19.04),
    },
}
"""By network and image size, then by channel multiplier: FFHQ, LSUN churches, ImageNet."""
