r"""Trains a GAN in one stage, two stages, or with a shared forward pass.

    python -m experiments.train --method=lsgan --scheme=one_stage --dataset=digits \
        --width=32 --num_steps=2000 --workdir=runs/lsgan

trains 32-pixel digits in about four minutes on two CPU cores. The paper's CelebA run is
`--method=lsgan --dataset=celeb_a --data_dir=...`: 64 pixels, batch 128, 30 epochs.

Writes to the workdir: config.json, metrics.jsonl, timing.jsonl, diversity.jsonl, tensorboard/,
samples/*.png, curves.png and checkpoints/. Running the same command again resumes; Ctrl-C saves
first.

On several hosts, or as several processes on one, start it once in each with the same flags, a
--workdir that all see, and

    --coordinator=HOST:PORT --num_processes=2 --process_id=0    # and --process_id=1

where process 0 runs on HOST and PORT is free there; under Slurm, Open MPI, Cloud TPU or Kubernetes
--coordinator=auto is enough. The batch is split over all devices of all processes, and a run may
be resumed with another number of them.
"""

import sys

from experiments import cli
from osgan_jax.gan.config import TrainConfig


@cli.command(cli.Workdir, TrainConfig, cli.Processes)
def main(where: cli.Workdir, config: TrainConfig, peers: cli.Processes) -> None:
    """Trains a GAN."""
    from osgan_jax.engine import messages
    from osgan_jax.gan import trainer

    peers.join()
    trainer.train(config, where.workdir)
    messages.say(f'Done: samples, curves and checkpoints are in {where.workdir}.')


if __name__ == '__main__':
    sys.exit(main())
