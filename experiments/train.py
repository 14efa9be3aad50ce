"""Trains a GAN in one stage, two stages, or with a shared forward pass.

    python -m experiments.train --method=lsgan --scheme=one_stage --dataset=digits \
        --width=32 --num_steps=2000 --workdir=runs/lsgan

trains 32-pixel digits in about four minutes on two CPU cores. The paper's CelebA run is
`--method=lsgan --dataset=celeb_a --data_dir=...`: 64 pixels, batch 128, 30 epochs.

Writes to the workdir: config.json, metrics.jsonl, timing.jsonl, tensorboard/, samples/*.png,
curves.png and checkpoints/. Running the same command again resumes; Ctrl-C saves first.
"""

from absl import flags

from experiments import cli
from osgan_jax.config import TrainConfig

_WORKDIR = flags.DEFINE_string('workdir', None, 'directory of the run; created', required=True)
cli.define_flags(TrainConfig)


def main() -> None:
    """Trains what the flags say."""
    from osgan_jax import training

    config = cli.config_from_flags(TrainConfig)
    training.train(config, _WORKDIR.value)
    print(f'Done: samples, curves and checkpoints are in {_WORKDIR.value}.', flush=True)


if __name__ == '__main__':
    cli.run(main)
