"""Table 1 of Shen et al., "Training Generative Adversarial Networks in One Stage" (CVPR 2021).

FID and KID of each method trained in two stages and in one, mean and standard deviation over five
runs, at 64 pixels. The paper prints nothing for CGAN on LSUN churches and FFHQ, which have no
labels.
"""

from typing import NamedTuple


class Score(NamedTuple):
    """Mean and standard deviation over the paper's five runs."""

    mean: float
    std: float


class Scores(NamedTuple):
    """One line of the paper's table on one dataset."""

    fid: Score
    kid: Score


DATASETS = {'celeb_a': 'CelebA', 'lsun_church': 'LSUN Churches', 'ffhq': 'FFHQ'}
"""The paper's datasets: names here, and as the paper prints them."""

# FID, its deviation, KID, its deviation: for each dataset in the order of DATASETS.
_PRINTED = """
dcgan_sym two_stage | 23.78 0.12 0.019 0.001 | 46.09 0.25 0.043 0.002 | 40.56 0.32 0.040 0.001
dcgan_sym one_stage | 22.66 0.09 0.018 0.001 | 38.99 0.21 0.037 0.001 | 29.38 0.24 0.026 0.001
cgan      two_stage | 39.85 0.27 0.035 0.000 | - | -
cgan      one_stage | 30.97 0.33 0.013 0.000 | - | -
wgan      two_stage | 33.30 0.23 0.028 0.001 | 36.29 0.14 0.034 0.002 | 35.66 0.13 0.032 0.001
wgan      one_stage | 27.23 0.18 0.021 0.001 | 35.58 0.30 0.033 0.002 | 39.77 0.14 0.036 0.001
dcgan     two_stage | 25.34 0.20 0.022 0.001 | 33.35 0.40 0.030 0.001 | 31.50 0.15 0.031 0.001
dcgan     one_stage | 24.20 0.17 0.019 0.001 | 25.41 0.30 0.024 0.001 | 31.19 0.21 0.028 0.001
lsgan     two_stage | 23.00 0.17 0.019 0.001 | 22.63 0.16 0.021 0.001 | 30.29 0.23 0.029 0.001
lsgan     one_stage | 19.31 0.18 0.015 0.001 | 22.39 0.37 0.019 0.001 | 29.11 0.12 0.026 0.001
geogan    two_stage | 21.92 0.13 0.018 0.001 | 18.85 0.41 0.016 0.001 | 30.55 0.21 0.031 0.001
geogan    one_stage | 21.52 0.14 0.017 0.001 | 18.92 0.24 0.017 0.001 | 30.63 0.26 0.032 0.001
relgan    two_stage | 20.91 0.15 0.018 0.001 | 24.95 0.19 0.023 0.002 | 35.81 0.18 0.033 0.001
relgan    one_stage | 20.79 0.18 0.015 0.001 | 25.09 0.25 0.024 0.001 | 35.72 0.16 0.031 0.001
fishergan two_stage | 27.88 0.29 0.024 0.001 | 29.25 0.32 0.026 0.001 | 52.65 0.16 0.050 0.001
fishergan one_stage | 27.10 0.19 0.021 0.001 | 29.23 0.18 0.025 0.001 | 51.63 0.18 0.049 0.001
bgan      two_stage | 31.12 0.19 0.027 0.001 | 35.06 0.31 0.035 0.001 | 41.35 0.17 0.038 0.001
bgan      one_stage | 25.34 0.17 0.022 0.001 | 34.42 0.21 0.035 0.001 | 42.64 0.13 0.039 0.001
sngan     two_stage | 34.95 0.24 0.033 0.001 | 33.51 0.16 0.034 0.001 | 52.46 0.24 0.050 0.001
sngan     one_stage | 34.34 0.12 0.033 0.001 | 31.23 0.17 0.031 0.001 | 51.03 0.36 0.048 0.001
"""


def _by_dataset() -> dict[str, dict[str, dict[str, Scores | None]]]:
    table: dict[str, dict[str, dict[str, Scores | None]]] = {name: {} for name in DATASETS}
    for line in _PRINTED.strip().splitlines():
        names, *printed = line.split('|')
        method, scheme = names.split()
        for dataset, text in zip(DATASETS, printed, strict=True):
            scores = None
            if text.strip() != '-':
                fid, fid_std, kid, kid_std = map(float, text.split())
                scores = Scores(Score(fid, fid_std), Score(kid, kid_std))
            table[dataset].setdefault(method, {})[scheme] = scores
    return table


PAPER_TABLE1 = _by_dataset()
"""`PAPER_TABLE1[dataset][method][scheme]`: `Scores`, or None where the paper prints nothing."""
