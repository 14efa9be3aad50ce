"""Table 2 as the paper prints it."""

from typing import NamedTuple


class Printed(NamedTuple):
    """One line of the paper's table.

    Attributes:
      parameters: as printed.
      cifar10: accuracy, 0 to 1.
      cifar100: likewise.
    """

    parameters: str
    cifar10: float
    cifar100: float


# Test accuracy of a ResNet34 and of ResNet18s that were distilled from it, one number each. The
# paper gives neither deviations, nor how many rounds one-stage training made, nor any cost.
PAPER_TABLE2: dict[str, Printed] = {
    'teacher': Printed('21.3M', 0.955, 0.775),
    'kd': Printed('11.2M', 0.939, 0.733),
    'zskt': Printed('11.2M', 0.921, 0.662),
    'dfad': Printed('11.2M', 0.933, 0.677),
    'one_stage': Printed('11.2M', 0.934, 0.700),
}
"""Table 2 of Shen et al., "Training Generative Adversarial Networks in One Stage" (CVPR 2021)."""
