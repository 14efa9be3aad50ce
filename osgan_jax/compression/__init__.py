"""DGL-GAN: narrower generators, trained under a teacher's discriminator (Tian et al. 2024).

Source: https://arxiv.org/abs/2112.06502. `config` says what a run is, `teachers` reads who teaches,
`objectives` has the paper's objectives as terms of an update, `stages` its Algorithm 1, `students`
the job that `experiments.compress` carries out, `report` the tables' columns of sizes and times.
"""

import os
from typing import Any


def compress(config: Any, workdir: str | os.PathLike[str], **given: Any):
    """Trains, or resumes, a student; see `osgan_jax.compression.students.compress`."""
    from osgan_jax.compression import students

    return students.compress(config, workdir, **given)
