"""Trains a GAN in one stage, two stages, or with a shared forward pass.

    python -m experiments.train --method=lsgan --scheme=one_stage --dataset=digits \
        --width=32 --num_steps=2000 --workdir=runs/lsgan

trains 32-pixel digits in about four minutes on two CPU cores. The paper's CelebA run is
`--method=lsgan --dataset=celeb_a --data_dir=...`: 64 pixels, batch 128, 30 epochs.

Writes to the workdir: config.json, metrics.jsonl, timing.jsonl, tensorboard/, samples/*.png,
curves.png and checkpoints/. Running the same command again resumes; Ctrl-C saves first.

On several hosts, or as several processes on one, start it once in each with the same flags, a
--workdir that all see, and

    --coordinator=HOST:PORT --num_processes=2 --process_id=0    # and --process_id=1

where process 0 runs on HOST and PORT is free there; under Slurm, Open MPI, Cloud TPU or Kubernetes
--coordinator=auto is enough. The batch is split over all devices of all processes, and a run may
be resumed with another number of them.
"""

from absl import flags

from experiments import cli
from osgan_jax.config import TrainConfig

# How a run is launched, not what it is: unlike the configuration's, these are not saved with it.
_COORDINATOR = flags.DEFINE_string(
    'coordinator', None, 'host:port of process 0, to train with several; auto asks the cluster'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'processes that train together')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'which of them this is, from 0')
_PEER_TIMEOUT = flags.DEFINE_integer(
    'peer_timeout',
    120,
    'seconds to wait for all processes at the start; later, seconds of silence of one after which '
    'the others end too, with a non-zero exit code',
    lower_bound=1,
)

_WORKDIR = flags.DEFINE_string('workdir', None, 'directory of the run; created', required=True)
cli.define_flags(TrainConfig)


def main() -> None:
    """Trains what the flags say."""
    from osgan_jax import processes, training

    config = cli.config_from_flags(TrainConfig)
    processes.join(
        _COORDINATOR.value,
        _NUM_PROCESSES.value,
        _PROCESS_ID.value,
        peer_timeout=_PEER_TIMEOUT.value,
    )
    training.train(config, _WORKDIR.value)
    if processes.is_first():
        print(f'Done: samples, curves and checkpoints are in {_WORKDIR.value}.', flush=True)


if __name__ == '__main__':
    cli.run(main)
